"""Work of ``basicsr report``: what training runs have logged, as a page."""
