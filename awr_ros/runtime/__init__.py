"""Engines that run a network: torch on the CPU or on CUDA, OpenVINO, ONNX Runtime."""
