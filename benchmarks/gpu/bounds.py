"""What a step of the released model takes at the least by counts of its code: no GPU takes part.

    python -m benchmarks.gpu.bounds --quantize int4-g128

Compiles every launch for an H200, an RTX 4090 and an RTX 5090, counts instructions, products and
bytes in the machine code, and prints which of them bounds each kernel, for a decoded token and for
the mean chunk of a prefill. `launch_bounds.py` has the model of a launch.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.cards import CARDS, Card
from benchmarks.gpu.launch_bounds import Predicted
from benchmarks.gpu.released import GGUF_BLOCKS, lowered
from benchmarks.gpu.step_bounds import step_of
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.common.units import parse_tokens

LARGE_SHARE = 0.02
"""Kernels that take less of a step share a line, unless another share is given."""


def table(rows: list[Predicted], card: Card, least: float = LARGE_SHARE) -> list[str]:
    """A line for each kernel that takes at least a share of the step, longest first."""
    total = sum(row.times * row.seconds for row in rows)
    bounds = ", ".join(rows[0].bounds)
    lines = [
        f"| kernel | launches | programs x warps | registers, KiB, blocks | instructions | "
        f"us by {bounds} | us | share | notes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    large, rest = _by_size(_merged(rows), least * total)
    for row in large:
        us = ", ".join(f"{1e6 * seconds:.1f}" for seconds in row.bounds.values())
        spilled = [f"spills {row.cubin.spill_bytes}"] * bool(row.cubin.spill_bytes)
        notes = [*spilled, *(warning.split(":")[0] for warning in row.cubin.warnings)]
        lines.append(
            f"| {row.name} {row.kernel.rsplit('_', 1)[0]} | {row.times} | "
            f"{row.programs} x {row.cubin.threads // 32} | {row.cubin.registers}, "
            f"{row.cubin.shared_bytes >> 10}, {row.resident} | {row.counts.issue:.0f} | {us} | "
            f"{1e6 * row.seconds:.1f} | {100 * row.times * row.seconds / total:.1f} % | "
            f"{' '.join(notes)} |"
        )
    if not rest:
        return lines
    seconds, times = (sum(values) for values in zip(*rest, strict=True))
    lines.append(
        f"| {len(rest)} others | {times} | | | | | {1e6 * seconds:.0f} all | "
        f"{100 * seconds / total:.1f} % | |"
    )
    return lines


def _merged(rows: list[Predicted]) -> list[Predicted]:
    """Equal launches of a kernel, such as those of slabs, as one."""
    found: dict[tuple[object, ...], Predicted] = {}
    for row in rows:
        key = (row.name, row.kernel, row.programs, row.seconds)
        times = row.times + (found[key].times if key in found else 0)
        found[key] = replace(row, times=times)
    return list(found.values())


def _by_size(
    rows: list[Predicted], least: float
) -> tuple[list[Predicted], list[tuple[float, int]]]:
    """The launches of `least` seconds or more, longest first; seconds and launches of the rest."""
    ordered = sorted(rows, key=lambda row: -row.times * row.seconds)
    large = [row for row in ordered if row.times * row.seconds >= least]
    rest = [(row.times * row.seconds, row.times) for row in ordered[len(large) :]]
    return large, rest


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--card", choices=[*CARDS, "all"], default="all")
    parser.add_argument("--phase", choices=["decode", "prefill", "all"], default="all")
    parser.add_argument(
        "--context", type=parse_tokens, nargs="+", default=[1 << 16, 1 << 18, 1 << 20]
    )
    parser.add_argument("--quantize", type=Quantization, default=Quantization.INT4_G128)
    parser.add_argument("--dtype", type=Precision, default=Precision.BFLOAT16)
    parser.add_argument("--cache", type=Path, default=Path("build/bounds"))
    parser.add_argument("--brief", action="store_true", help="only the totals")
    parser.add_argument("--least", type=float, default=LARGE_SHARE, help="share of a step")
    parser.add_argument(
        "--gguf", action="store_true", help="int4 and int8 linears as blocks of Q4_K and Q6_K"
    )
    given = parser.parse_args()
    cards = CARDS.values() if given.card == "all" else [CARDS[given.card]]
    blocks = GGUF_BLOCKS if given.gguf else None
    kind = "Q4_K and Q6_K" if given.gguf else given.quantize.value
    for card in cards:
        model = lowered(CudaTarget(card.architecture), given.quantize, given.dtype)
        for phase in ("decode", "prefill") if given.phase == "all" else (given.phase,):
            for context in given.context:
                step = step_of(model, phase, context, card, given.cache, blocks)
                print(f"\n## {card.name}, {phase}, {context >> 10}K, {kind}\n")
                if not given.brief:
                    print("\n".join(table(step.rows, card, given.least)) + "\n")
                print(
                    f"floor {1e3 * step.floor:.3f} ms, model {1e3 * step.seconds:.3f} ms, "
                    f"ratio {step.ratio:.2f}, launches {step.launches}"
                )


if __name__ == "__main__":
    main()
