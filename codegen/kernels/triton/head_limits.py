"""What kernels that multiply tiles of heads can do."""

from sala_compile.sala_ir.attention_sizes import Heads

LARGEST_GROUP = 32
"""Query heads of a kv head."""
LARGEST_HEAD = 128
"""Columns of a head; smaller ones are masked up to a power of two."""


def refuse_heads(heads: Heads) -> str | None:
    """The reason why a kernel refuses such heads, if there is one."""
    if heads.group > LARGEST_GROUP:
        return f"groups of {heads.group} heads pass {LARGEST_GROUP}"
    if heads.head_dim > LARGEST_HEAD:
        return f"heads of {heads.head_dim} columns pass {LARGEST_HEAD}"
    return None
