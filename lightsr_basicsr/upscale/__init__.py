"""Enlarge pictures of any size within the memory at hand."""
