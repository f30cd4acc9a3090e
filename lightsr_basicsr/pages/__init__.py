"""Pages in one HTML file that load nothing from the network: what the pages of several commands share."""
