"""Degradation vectors of KDSR's encoders."""
