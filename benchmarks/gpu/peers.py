"""Peers of single kernels, timed in the same run: fla's Lightning kernels and torch's attention.

    python -m benchmarks.gpu.peers --output build/gpu/results/peers.json

`simple_gla` is the same recurrence as Lightning attention with a decay that depends on the head
alone. Inputs are random, several sets in turn, larger together than the cache.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.timing import measure_ceilings, median_seconds

CHUNK = 8192
COPIES = 3
DENSE = 8064
"""Tokens just below the length at which sparse layers become sparse."""


def slopes(heads: int) -> Tensor:
    """The decay of each head, as the logarithm's negative: 2^(-8 (h + 1) / heads)."""
    return 2.0 ** (-8 * torch.arange(1, heads + 1, device="cuda", dtype=torch.float32) / heads)


def lightning_peers(sizes: Sizes) -> dict[str, float]:
    """Seconds of fla's chunked and recurrent kernels on one prefill chunk and one token."""
    from fla.ops.simple_gla import chunk_simple_gla, fused_recurrent_simple_gla

    decay = -slopes(sizes.heads)
    shape = (1, CHUNK, sizes.heads, sizes.head_dim)

    def inputs(tokens: int) -> list[Tensor]:
        wanted = (1, tokens, *shape[2:])
        return [torch.randn(wanted, device="cuda", dtype=torch.bfloat16) for _ in range(3)]

    state = torch.zeros(1, sizes.heads, sizes.head_dim, sizes.head_dim, device="cuda")
    scale = 1 / math.sqrt(sizes.head_dim)

    def runs(kernel: Callable[..., Any], sets: list[list[Tensor]]) -> float:
        def once(index: int) -> None:
            query, key, value = sets[index % len(sets)]
            kernel(
                query,
                key,
                value,
                g_gamma=decay,
                scale=scale,
                initial_state=state,
                output_final_state=True,
            )

        return median_seconds(once)

    return {
        "fla chunk_simple_gla": runs(chunk_simple_gla, [inputs(CHUNK) for _ in range(COPIES)]),
        "fla fused_recurrent_simple_gla": runs(
            fused_recurrent_simple_gla, [inputs(1) for _ in range(COPIES)]
        ),
    }


def attention_peers(sizes: Sizes) -> dict[str, float]:
    """Seconds of torch's flash attention: a dense call, and a chunk behind a long context."""

    def attend(tokens: int, context: int) -> float:
        query = torch.randn(
            1, sizes.heads, tokens, sizes.head_dim, device="cuda", dtype=torch.bfloat16
        )
        key, value = (
            torch.randn(
                1, sizes.kv_heads, context, sizes.head_dim, device="cuda", dtype=torch.bfloat16
            )
            for _ in range(2)
        )
        bias = causal_lower_right(tokens, context)
        return median_seconds(
            lambda _: F.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, enable_gqa=True
            ),
            most=10,
        )

    return {
        f"torch flash attention, {DENSE} tokens": attend(DENSE, DENSE),
        f"torch flash attention, {CHUNK} tokens at 65536": attend(CHUNK, 1 << 16),
        f"torch flash attention, {CHUNK} tokens at 262144": attend(CHUNK, 1 << 18),
    }


def linear_peers(sizes: Sizes) -> dict[str, float]:
    """Seconds of torch's bf16 products of the model's shapes, one chunk and one row."""
    width = sizes.heads * sizes.head_dim
    shapes = {
        "lightning projections": (4 * width, sizes.hidden),
        "gate and up": (2 * sizes.intermediate, sizes.hidden),
        "down": (sizes.hidden, sizes.intermediate),
        "output": (sizes.hidden, width),
    }
    found = {}
    for name, (columns, depth) in shapes.items():
        weights = [
            torch.randn(columns, depth, device="cuda", dtype=torch.bfloat16) for _ in range(COPIES)
        ]
        for rows in (1, CHUNK):
            x = torch.randn(rows, depth, device="cuda", dtype=torch.bfloat16)

            def product(index: int, x: Tensor = x, weights: list[Tensor] = weights) -> Tensor:
                return F.linear(x, weights[index % COPIES])

            found[f"torch linear {name}, {rows} rows"] = median_seconds(product)
    return found


def main() -> None:
    """Measure and write seconds by name, with the ceilings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    sizes, ceilings = Sizes.released(), measure_ceilings()
    seconds = lightning_peers(sizes) | attention_peers(sizes) | linear_peers(sizes)
    document = {
        "ceilings": {
            "operations": ceilings.operations,
            "bytes": ceilings.bytes,
            "exponentials": ceilings.exponentials,
        },
        "seconds": seconds,
    }
    options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
