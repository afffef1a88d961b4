"""Peers of single kernels, timed in the same run: torch's products and flash attention.

    python -m benchmarks.gpu.peers build/gpu build/gpu/results --part peers

Inputs are random, several sets in turn, larger together than the cache.
"""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from benchmarks.gpu.budget import Row, measure
from benchmarks.gpu.part import part
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.timing import median_seconds

CHUNK = 8192
COPIES = 3
DENSE = 8064
"""Tokens just below the length at which sparse layers become sparse."""


def attend(sizes: Sizes, tokens: int, context: int) -> dict[str, float]:
    """Seconds of torch's flash attention for the last `tokens` of a context."""
    query = torch.randn(1, sizes.heads, tokens, sizes.head_dim, device="cuda", dtype=torch.bfloat16)
    key, value = (
        torch.randn(1, sizes.kv_heads, context, sizes.head_dim, device="cuda", dtype=torch.bfloat16)
        for _ in range(2)
    )
    bias = causal_lower_right(tokens, context)
    seconds = median_seconds(
        lambda _: F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, enable_gqa=True
        ),
        most=10,
    )
    return {"seconds": seconds}


def multiply(rows: int, columns: int, depth: int) -> dict[str, float]:
    """Seconds of torch's bf16 product of some rows and one of several weights in turn."""
    weights = [
        torch.randn(columns, depth, device="cuda", dtype=torch.bfloat16) for _ in range(COPIES)
    ]
    x = torch.randn(rows, depth, device="cuda", dtype=torch.bfloat16)

    def product(index: int) -> Tensor:
        return F.linear(x, weights[index % COPIES])

    return {"seconds": median_seconds(product)}


def shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """Columns and depth of the model's large products."""
    width = sizes.heads * sizes.head_dim
    return {
        "lightning projections": (4 * width, sizes.hidden),
        "gate and up": (2 * sizes.intermediate, sizes.hidden),
        "down": (sizes.hidden, sizes.intermediate),
        "output": (sizes.hidden, width),
    }


def rows(sizes: Sizes) -> Iterator[Row]:
    """A row for each peer."""
    for name, (columns, depth) in shapes(sizes).items():
        for count in (1, CHUNK):
            yield f"torch linear {name}, {count} rows", partial(multiply, count, columns, depth)
    for tokens, context in ((DENSE, DENSE), (CHUNK, 1 << 16), (CHUNK, 1 << 18)):
        name = f"torch flash attention, {tokens} tokens at {context}"
        yield name, partial(attend, sizes, tokens, context)


def main() -> None:
    """Measure and write seconds by name."""
    with part(__doc__) as mine:
        measure(mine.document, mine.budget, rows(Sizes.released()))


if __name__ == "__main__":
    main()
