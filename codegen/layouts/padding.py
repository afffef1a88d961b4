"""How rows of activations are padded, and which elements of a pool share a word."""

from xdsl.dialects.builtin import BFloat16Type

from sala_compile.sala_ir.dialect.types import StateType, WeightType

PITCH = 16
"""Rows of activations are padded to a multiple of this many elements."""


def padded(columns: int) -> int:
    """Elements from one row of an activation to the next."""
    return -(-columns // PITCH) * PITCH


def runs_of(entries: int, run: int) -> tuple[int, int]:
    """How many runs the entries of a page have, and entries of one: `run` where it divides them."""
    return (entries // run, run) if entries % run == 0 else (1, padded(entries))


def pair_of(kind: StateType | WeightType) -> int:
    """Elements of a pool, or values of a plain weight, that share 32 bits."""
    return 2 if isinstance(kind.element_type, BFloat16Type) else 1
