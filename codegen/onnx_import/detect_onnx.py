"""What tells an ONNX model from other checkpoints, without the package that reads one."""

from pathlib import Path


def is_onnx(path: Path) -> bool:
    """Whether a path names an ONNX model."""
    return path.suffix == ".onnx" and not path.is_dir()
