"""Work of ``basicsr compare``: networks on sets of pictures, as a page, sheets and tables."""
