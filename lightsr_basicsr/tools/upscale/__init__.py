"""Work of ``basicsr upscale``: which files, under which names, and one after the other through the network."""
