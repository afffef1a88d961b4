"""What kernels that multiply tiles of heads can do."""

LARGEST_GROUP = 32
"""Query heads of a kv head."""
LARGEST_HEAD = 128
"""Columns of a head; smaller ones are masked up to a power of two."""


def refuse_heads(num_heads: int, kv_heads: int, head_dim: int) -> str | None:
    """The reason why a kernel refuses such heads, if there is one."""
    if num_heads // kv_heads > LARGEST_GROUP:
        return f"groups of {num_heads // kv_heads} heads pass {LARGEST_GROUP}"
    if head_dim > LARGEST_HEAD:
        return f"heads of {head_dim} columns pass {LARGEST_HEAD}"
    return None
