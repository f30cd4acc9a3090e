"""Describe checkpoints and exported files."""
