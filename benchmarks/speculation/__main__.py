"""What drafted tokens save: committed answers, replayed with drafts and without, in turns.

    python -m benchmarks.speculation NAME.sala [--speculate 8] [--rounds 5] [--output FILE.md]
    python -m benchmarks.speculation NAME.sala --draft SMALL.sala --own 128

Each answer is written token by token as if the model had chosen it, so that any model, one with
random weights too, shows what its steps cost; drafts come from the prompt and the answer so far.
The logits after every token are compared with those without drafts, bit for bit. An artifact
without a tokenizer borrows the ids of another (`--ids-of OTHER.sala`). With `--own N` the model's
own greedy answers of N tokens to the same prompts take the place of the committed ones. With
`--draft` a draft model drafts too; like the model it has read the prompt before the time counts.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import click
import numpy as np

import sala_compile
from benchmarks.machine import machine_document, machine_line
from benchmarks.markdown import table
from benchmarks.speculation.replay import Replay, replay
from benchmarks.speculation.texts import TEXTS, Text
from sala_compile.runtime.generation.model_drafts import ModelDrafts
from sala_compile.runtime.model import Model
from sala_compile.runtime.text.tokenizer import Tokenizer

COLUMNS = ["text", "tokens", "drafted", "right", "steps", "times as fast", "fastest and slowest"]


@click.command(help=__doc__)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--speculate", default=8)
@click.option("--rounds", default=5)
@click.option("--ids-of", type=click.Path(path_type=Path))
@click.option("--draft", type=click.Path(path_type=Path))
@click.option("--own", default=0)
@click.option("--output", type=click.Path(path_type=Path))
def main(
    artifact: Path,
    speculate: int,
    rounds: int,
    ids_of: Path | None,
    draft: Path | None,
    own: int,
    output: Path | None,
) -> None:
    """Replay every text, and print a table."""
    with (
        sala_compile.load(
            artifact,
            context=2048,
            sequences=2,
            capacity=4096,
            speculate=speculate,
            snapshots=1,
            draft=draft,
        ) as model,
        nullcontext(model) if ids_of is None else sala_compile.load(ids_of, context=64) as other,
    ):
        found: list[list[str]] = []
        for text in TEXTS:
            found.append(_row(model, other.tokenizer, text, rounds, own))
            click.echo("  ".join(found[-1]), err=True)
        threads = model.memory.plan.sizes.workers
    machine = machine_line(machine_document(["numpy", "apache-tvm-ffi"], threads))
    source = "the text" if draft is None else f"the text and {draft.stem}"
    written = f"own greedy answers of {own} tokens" if own else "committed answers"
    head = f"# Up to {speculate} drafted tokens a step, {artifact.stem}\n\n{machine}\n\n"
    head += f"Drafts from {source}; {written}."
    text = "\n".join([head, "", *table(COLUMNS, found), ""])
    print(text)
    if output is not None:
        output.write_text(text, encoding="utf-8")


def _row(model: Model, tokenizer: Tokenizer, text: Text, rounds: int, own: int) -> list[str]:
    prompt = tokenizer.encode(text.prompt)
    answer = tokenizer.encode(text.answer, special=False)
    ratios: list[float] = []
    with model.sequence() as sequence:
        sequence.append(prompt)
        sequence.snapshot()
        if own:
            options = {"temperature": 0.0, "ignore_eos": True, "defaults": "none"}
            answer = model.generate(prompt, own, **options)
        for _ in range(rounds):
            plain = replay(sequence, prompt, answer, drafts=False)
            with nullcontext() if model.draft is None else _reader(model.draft, prompt) as drafts:
                drafted = replay(sequence, prompt, answer, drafts=True, model=drafts)
            np.testing.assert_array_equal(plain.logits, drafted.logits)
            ratios.append(plain.seconds / drafted.seconds)
    return _cells(text, answer, drafted, ratios)


def _reader(draft: Model, prompt: Sequence[int]) -> ModelDrafts:
    """The draft model after the prompt."""
    drafts = ModelDrafts(draft.sequence())
    drafts.read(prompt)
    return drafts


def _cells(text: Text, answer: Sequence[int], last: Replay, ratios: Sequence[float]) -> list[str]:
    return [
        f"{text.name} ({'quotes' if text.quotes else 'repeats nothing'})",
        str(len(answer)),
        str(last.drafted),
        str(last.right),
        str(last.steps),
        f"{median(ratios):.2f}",
        f"{max(ratios):.2f}, {min(ratios):.2f}",
    ]


if __name__ == "__main__":
    main()
