"""Compression by removing channels: how many at each site, which ones, and the narrower network.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929.
"""

from lightsr_basicsr.errors import require_basicsr

require_basicsr()

# First, so that what registers names at its import, and imports this package, finds whole modules.
import basicsr.utils.registry  # noqa: E402, F401
