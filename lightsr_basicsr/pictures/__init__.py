"""Pictures: read a file into pixels and all that belongs to them, write an enlarged one with nothing lost.

Imports neither torch nor BasicSR. The data sets, which read by BasicSR's rule, share ``files`` and ``pixels``.
"""
