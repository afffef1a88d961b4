"""Token embedding (section 4)."""

from sala_compile.sala_ir.reference.arrays import Array, take_rows


def embedding(tokens: Array, weight: Array, *, scale: float) -> Array:
    """Return `weight[tokens] * scale`: ids [tokens], weight [vocabulary, hidden]."""
    return take_rows(weight, tokens) * scale
