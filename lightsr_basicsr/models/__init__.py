"""Training models; importing this package registers them in BasicSR's ``MODEL_REGISTRY``."""

from lightsr_basicsr.errors import require_basicsr

require_basicsr()

from lightsr_basicsr.models import (  # noqa: E402, F401
    base,
    blind_kernel_model,
    channel_pruning_model,
    channel_search_model,
    compression_model,
    distill_finetune_model,
    dual_regression_model,
    kdsr_gan_model,
    kdsr_model,
    kdsr_student_model,
    kdsr_teacher_model,
    reparam_model,
)
