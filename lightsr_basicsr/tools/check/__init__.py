"""Check an option file before a run."""
