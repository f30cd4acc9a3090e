"""Compression by removing channels: how many at each site, which ones, and the narrower network.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929.
"""
