"""Seeded vectors for every kernel: inputs, and what the reference makes of them."""

from codegen.vectors.kernels import kernel_vectors

__all__ = ["kernel_vectors"]
