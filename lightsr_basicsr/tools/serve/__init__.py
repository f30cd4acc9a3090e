"""A page on which pictures are enlarged: what it allows, the work, the page, and the server."""
