"""Running a network through torch, ONNX Runtime or OpenVINO behind one call."""

from lightsr_basicsr.runtimes.base import BACKENDS, PRECISIONS, Runtime, RuntimeProblem
from lightsr_basicsr.runtimes.choice import open_runtime

__all__ = ["BACKENDS", "PRECISIONS", "Runtime", "RuntimeProblem", "open_runtime"]
