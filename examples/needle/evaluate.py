"""Measures how often a needle is found, by the length of the text and where the needle lies.

    python -m examples.needle.evaluate [--artifact NAME.sala] [--lengths 1K,8K] [--cases N]

Without --artifact the checkpoint is compiled first. With --reference the reference answers too,
in float32, and both are compared. An artifact alone needs nothing but the base install; --picture
needs matplotlib (the `plot` extra).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

if not __package__:  # run as a file: `examples` is then not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sala_compile
from examples.needle.measure import (
    DEPTHS,
    Ask,
    Outcome,
    accuracy,
    ask_artifact,
    ask_reference,
    by_depth,
    draw_cases,
    measure,
)
from sala_compile.runtime.common.units import parse_tokens

CHECKPOINT = Path(__file__).parent / "checkpoint"


@dataclass
class Result:
    """The outcomes of one model at one length, and the seconds that they took."""

    name: str
    length: int
    seconds: float
    outcomes: list[Outcome] = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Numbers for a table or a document."""
        return {
            "model": self.name,
            "length": self.length,
            "cases": len(self.outcomes),
            "accuracy": accuracy(self.outcomes),
            "accuracy_by_depth": by_depth(self.outcomes),
            "selected_block_hits": float(np.mean([x.hit for x in self.outcomes])),
            "blocks_read": float(np.mean([x.read for x in self.outcomes])),
            "seconds_per_case": self.seconds / len(self.outcomes),
        }


def main() -> None:
    """Run what the command line asks for and print it."""
    arguments = _parser().parse_args()
    lengths = [parse_tokens(text) for text in arguments.lengths.split(",")]
    config = json.loads((arguments.checkpoint / "config.json").read_text(encoding="utf-8"))
    block_size = config["sparse_config"]["block_size"]
    with tempfile.TemporaryDirectory() as scratch:
        artifact = arguments.artifact or _compiled(arguments, Path(scratch))
        with sala_compile.load(artifact, context=max(lengths) + 16 * arguments.hops) as model:
            results = _measured("artifact", ask_artifact(model), lengths, arguments, block_size)
    if arguments.reference:
        ask = ask_reference(_reference(arguments))
        results += _measured("reference", ask, lengths, arguments, block_size)
    _report(results, arguments)


def _measured(
    name: str, ask: Ask, lengths: Sequence[int], arguments: Any, block_size: int
) -> list[Result]:
    results = []
    for length in lengths:
        began = time.perf_counter()
        cases = draw_cases(arguments.seed, length, arguments.cases, arguments.hops)
        outcomes = list(measure(ask, cases, block_size))
        results.append(Result(name, length, time.perf_counter() - began, outcomes))
        print(f"{name} {length}: {accuracy(outcomes):.3f}", file=sys.stderr, flush=True)
    return results


def _compiled(arguments: Any, directory: Path) -> Path:
    """Compile the checkpoint as the options say."""
    path = directory / "needle.sala"
    command = [str(Path(sys.executable).parent / "sala-compile"), str(arguments.checkpoint)]
    options = ["--attention", arguments.attention, "--dtype", arguments.dtype]
    subprocess.run([*command, "-o", str(path), *options], check=True, stdout=sys.stderr)
    return path


def _reference(arguments: Any) -> Any:
    """The reference of the checkpoint; needs the `compile` extra."""
    from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
    from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
    from sala_compile.sala_ir.interpreter import ReferenceModel

    checkpoint = Checkpoint.open(arguments.checkpoint)
    frontend = frontend_for(checkpoint.config)
    parsed = frontend.parse_config(checkpoint.config)
    module = frontend.build_module(parsed, AttentionMode(arguments.attention))
    return ReferenceModel(module, checkpoint, dtype=np.float32)


def _agreement(results: Sequence[Result]) -> dict[int, dict[str, float]]:
    """Of each length that both answered: how alike the predicted tokens and the logits are."""
    found = {(result.name, result.length): result.outcomes for result in results}
    lengths = {length for name, length in found if name == "reference"}
    return {
        length: _alike(found["artifact", length], found["reference", length])
        for length in sorted(lengths)
    }


def _alike(artifact: Sequence[Outcome], reference: Sequence[Outcome]) -> dict[str, float]:
    pairs = list(zip(artifact, reference, strict=True))
    differences = [np.abs(a.logits - b.logits) for a, b in pairs]
    return {
        "same_answers": float(np.mean([a.predicted == b.predicted for a, b in pairs])),
        "median_logit_difference": float(np.median(differences)),
        "largest_logit_difference": float(np.max(differences)),
        "logit_deviation": float(np.std([b.logits for _, b in pairs])),
    }


def _report(results: Sequence[Result], arguments: Any) -> None:
    summaries, agreement = [result.summary() for result in results], _agreement(results)
    if arguments.json:
        document = {"seed": arguments.seed, "results": summaries, "agreement": agreement}
        print(json.dumps(document, indent=2))
    else:
        _print_tables(summaries, agreement)
    if arguments.picture:
        from examples.needle.pictures import draw_heat_map

        draw_heat_map(summaries, arguments.picture)


def _print_tables(
    summaries: Sequence[dict[str, Any]], agreement: dict[int, dict[str, float]]
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(title="Right answers in percent, by where the needle lies in percent of the text")
    heads = ("model", "tokens", "all", *(f"{10 * part}-" for part in range(DEPTHS)))
    for head in (*heads, "found", "read"):
        table.add_column(head, justify="left" if head == "model" else "right")
    for row in summaries:
        shares = row["accuracy_by_depth"]
        parts = ["-" if share is None else f"{100 * share:.0f}" for share in shares]
        last = (f"{100 * row['selected_block_hits']:.1f}%", f"{100 * row['blocks_read']:.2f}%")
        first = (row["model"], str(row["length"]), f"{100 * row['accuracy']:.1f}%")
        table.add_row(*first, *parts, *last)
    console.print(table)
    console.print(
        "found: the last sparse layer read the blocks of the value; read: the share of the blocks "
        "that the sparse layers read for the question's last token"
    )
    for length, alike in agreement.items():
        console.print(
            f"{length} tokens: same answers {100 * alike['same_answers']:.1f}%, logits differ by "
            f"{alike['median_logit_difference']:.4f} (median), "
            f"{alike['largest_logit_difference']:.3f} (largest); "
            f"their standard deviation is {alike['logit_deviation']:.2f}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure how often needles are found.")
    parser.add_argument("--artifact", type=Path, help="a compiled model, NAME.sala")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--lengths", default="1K,8K", help="tokens, such as 1K,8K,64K")
    parser.add_argument("--cases", type=int, default=20, help="cases of each length")
    parser.add_argument("--seed", type=int, default=1, help="of the cases")
    parser.add_argument("--hops", type=int, default=1, help="needles that lead to the answer")
    parser.add_argument("--attention", default="config", choices=("config", "sparse", "dense"))
    parser.add_argument("--dtype", default="bfloat16", help="without --artifact: compile to it")
    parser.add_argument("--reference", action="store_true", help="ask the reference too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--picture", type=Path, help="write a heat map to this file")
    return parser


if __name__ == "__main__":
    main()
