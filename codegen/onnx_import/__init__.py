"""ONNX models as checkpoints: those that the exporter wrote, and dense decoders of others."""
