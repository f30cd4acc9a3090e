"""Metrics; importing this package registers them in BasicSR's ``METRIC_REGISTRY``."""

from lightsr_basicsr.errors import require_basicsr

require_basicsr()

from lightsr_basicsr.metrics import perceptual  # noqa: E402, F401
