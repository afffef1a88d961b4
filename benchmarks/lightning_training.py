"""Lightning attention as it trains on a CPU, next to eager's dense attention, in turns.

    python -m benchmarks.lightning_training [--tokens 512,1024,2048,4096] [--threads N] [--turns N]

Both sides have the same heads, texts and number of tokens, and do a forward and a backward pass
down to queries, keys and values. Lightning is the chunked form of `sala_ir.reference`, which
`examples/halo` trains with; dense attention is torch's `scaled_dot_product_attention`, causal, and
the three operations that it is short for. The ratios are medians over the turns.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.machine import machine_document, machine_line
from benchmarks.paired import times_as_fast
from sala_compile.runtime.common.timing import Sample, sample
from sala_compile.sala_ir.frontends.kit.lightning import lightning_slopes
from sala_compile.sala_ir.reference import lightning_chunked

HEADS, SIZE = 9, 64
"""Those of SmolLM2-135M."""
ROWS = 2048
"""Tokens of all texts of a call, at least one text."""
Mixer = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def lightning(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The chunked form of the reference on [texts, tokens, heads, size]."""
    texts, _, heads, size = q.shape
    state = torch.zeros(texts, heads, size, size)
    out, _ = lightning_chunked(q, k, v, slopes=lightning_slopes(heads), state=state)
    return out


def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Eager's own function for causal attention."""
    by_head = (x.transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(*by_head, is_causal=True).transpose(1, 2)


def written_out(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """A product, a softmax and a product: the whole matrix of scores."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(2, 3) * SIZE**-0.5).masked_fill(later, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


SIDES: dict[str, Mixer] = {"lightning": lightning, "fused": fused, "written out": written_out}


def times(tokens: int, turns: int, *, halves: bool) -> dict[str, list[Sample]]:
    """Samples of each side, in turns; `halves` multiplies in bfloat16, as training does."""
    found: dict[str, list[Sample]] = {name: [] for name in SIDES}
    shape = (max(1, ROWS // tokens), tokens, HEADS, SIZE)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for _ in range(3)]
    for turn in range(turns + 1):
        for name, side in SIDES.items():

            def work(side: Mixer = side) -> None:
                with torch.autocast("cpu", torch.bfloat16, enabled=halves):
                    out = side(*inputs)
                torch.autograd.grad(out.float().sum(), inputs)

            taken = sample(work)
            if turn:  # the first warms up
                found[name].append(taken)
    return found


def rows(lengths: Sequence[int], turns: int) -> list[dict[str, Any]]:
    """How many times as fast as dense attention Lightning is, by tokens and precision."""
    table = []
    for halves in (False, True):
        for tokens in lengths:
            found = times(tokens, turns, halves=halves)
            ratios = {
                name: round(times_as_fast(found["lightning"], found[name]), 2)
                for name in ("fused", "written out")
            }
            kind = "bfloat16" if halves else "float32"
            table.append({"products": kind, "tokens": tokens, **ratios})
    return table


def report(document: dict[str, Any]) -> str:
    """The table for people."""
    lines = [
        "# Lightning attention as it trains, next to eager's dense attention",
        "",
        machine_line(document["machine"]),
        "",
        f"Forward and backward of {HEADS} heads of {SIZE}, {document['turns']} turns: how many "
        "times as fast the chunked form of the reference is as `scaled_dot_product_attention`, and "
        "as the same written out. At 512 tokens 0.5 was asked for.",
        "",
        "| products in | tokens | as `scaled_dot_product_attention` | as written out |",
        "|---|---:|---:|---:|",
    ]
    for row in document["rows"]:
        ratios = f"{row['fused']:.2f} | {row['written out']:.2f}"
        lines.append(f"| {row['products']} | {row['tokens']} | {ratios} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print; with --output also write the table and its numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tokens", default="512,1024,2048,4096")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--output", type=Path, help="NAME.md; the numbers go to NAME.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lengths = [int(part) for part in arguments.tokens.split(",")]
    document = {
        "machine": machine_document(("torch",), arguments.threads),
        "turns": arguments.turns,
        "rows": rows(lengths, arguments.turns),
    }
    text = report(document)
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
        numbers = json.dumps(document, indent=1) + "\n"
        arguments.output.with_suffix(".json").write_text(numbers, encoding="utf-8")


if __name__ == "__main__":
    main()
