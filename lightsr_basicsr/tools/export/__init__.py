"""Export networks to ONNX, OpenVINO and TorchScript; int8."""
