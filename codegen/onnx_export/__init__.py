"""Captured graphs as ONNX models with their weights next to them."""
