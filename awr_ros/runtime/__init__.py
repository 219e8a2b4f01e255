"""The same network on different engines: torch on the CPU or on CUDA, OpenVINO, ONNX Runtime."""
