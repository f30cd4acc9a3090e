"""Measure networks on every backend in paired rounds."""
