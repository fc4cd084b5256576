"""Torch → ONNX. ``exporter`` holds the library's only call of ``torch.onnx.export``."""
