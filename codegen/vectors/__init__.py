"""Seeded vectors for every kernel: inputs, and what the reference makes of them."""

from sala_compile.codegen.vectors.kernels import kernel_vectors

__all__ = ["kernel_vectors"]
