"""Draws a haystack, asks an artifact for the needle in it, and shows what the layers read.

python -m examples.needle.show NAME.sala [--length 32K] [--depth 0.4] [--seed S] [--write FILE]
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

if not __package__:  # run as a file: `examples` is then not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sala_compile
from examples.needle.haystack import Case, draw_case
from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.common.units import parse_tokens
from sala_compile.runtime.errors import reported_as

MARKS = 64
"""Columns of the line that stands for the text."""


def main() -> None:
    """Draw, ask and show."""
    parser = argparse.ArgumentParser(description="Show how a needle is found.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--length", default="32K", help="tokens of the text")
    parser.add_argument("--depth", type=float, default=0.4, help="where the needle lies, 0 to 1")
    parser.add_argument("--hops", type=int, default=1, help="needles that lead to the answer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="write the text to this file")
    arguments = parser.parse_args()
    with reported_as("examples.needle.show"):
        _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    case = draw_case(
        *(arguments.seed, 0),
        length=parse_tokens(arguments.length),
        depth=arguments.depth,
        hops=arguments.hops,
    )
    if arguments.write:
        OutputRule(what="the text").write(arguments.write, case.text.encode())
    with sala_compile.load(arguments.artifact, context=len(case.token_ids) + 64) as model:
        _show(model, case, Console(highlight=False, soft_wrap=True))


def _show(model: Any, case: Case, console: Console) -> None:
    needle = case.token_ids[case.needle_start : case.needle_stop]
    console.print(f"text      {len(case.token_ids):,} tokens: {case.text[:60].strip()} ...")
    sentence = model.tokenizer.decode(needle).strip()
    console.print(f"needle    at token {case.needle_start:,}: {sentence}")
    console.print(f"question  {case.text[case.text.rindex(' Answer') :].strip()} ...")
    began = time.perf_counter()
    logits, observed = model.logits(case.token_ids, observe=("selected_blocks", "blocks_read"))
    seconds = time.perf_counter() - began
    first = model.tokenizer.decode([int(np.argmax(logits[-1]))]).strip()
    console.print(f"answer    begins with {first} (right: {case.answer}), after {seconds:.1f} s")
    row, block = len(case.token_ids) - 1, _block_size(model)
    count = row // block + 1
    for layer, selected in sorted(observed["selected_blocks"].items()):
        heads = selected["blocks"][row].reshape(-1, selected["blocks"].shape[-1])
        chosen = {int(index) for head in heads for index in head if index >= 0}
        is_found = case.value_start // block in chosen
        read = float(np.mean(observed["blocks_read"][layer][row]))
        console.print(
            f"layer {layer}   reads {read:.0f} of {count:,} blocks ({100 * read / count:.2f}%), "
            f"the needle's {'among them' if is_found else 'not among them'}"
        )
        console.print(_line(chosen, case.value_start // block, count))


def _line(chosen: set[int], needle: int, count: int) -> Text:
    """The text as one line: a column with a block that was read, the needle's own marked."""
    line = Text("          ")
    for column in range(MARKS):
        blocks = range(column * count // MARKS, (column + 1) * count // MARKS)
        is_needle = needle in blocks
        is_read = any(index in chosen for index in blocks)
        mark = "█" if is_read else "·"
        style = ("bold green" if needle in chosen else "bold red") if is_needle else ""
        line.append("▲" if is_needle and needle in chosen else "△" if is_needle else mark, style)
    return line


def _block_size(model: Any) -> int:
    """Tokens of one block, as the artifact says."""
    return int(model.artifact.program.paging.page_tokens)


if __name__ == "__main__":
    main()
