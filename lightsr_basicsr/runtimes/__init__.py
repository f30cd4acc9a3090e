"""Run a network with torch, ONNX Runtime, OpenVINO or ncnn behind one call."""

from lightsr_basicsr.runtimes.base import BACKENDS, PRECISIONS, BackendError, Runtime
from lightsr_basicsr.runtimes.choice import open_runtime

__all__ = ["BACKENDS", "PRECISIONS", "BackendError", "Runtime", "open_runtime"]
