"""What `benchmarks.cpu_model` knows so far, and its results as JSON and as a table for people."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.markdown import page, table
from sala_compile.runtime.artifact.replace import write_whole

BF16, EAGER, COMPILED = "bf16", "torch eager", "torch.compile"
PEERS = (EAGER, COMPILED)


@dataclass(frozen=True, slots=True)
class Row:
    """One work: for each side its tokens per second, clean samples and samples.

    `ratios` say how many times as fast each of our sides is as each of the peers.
    """

    work: str
    sides: dict[str, dict[str, float]]
    ratios: dict[str, dict[str, float]]


@dataclass(slots=True)
class Record:
    """Rows by the length of the prompt, kept in a file so that a run can go on."""

    path: Path
    asked: dict[str, Any]
    lengths: dict[str, dict[str, Any]] = field(default_factory=dict)
    first_calls: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, asked: dict[str, Any]) -> "Record":
        """The record in a file of the same request, else a new one."""
        found = json.loads(path.read_text()) if path.exists() else {}
        if found.get("asked") != asked:
            return cls(path, asked)
        return cls(path, asked, found["lengths"], found["first_calls"])

    def add(self, length: int, rows: Sequence[Row], gaps: dict[str, float]) -> None:
        """All rows at one length, and the differences of the logits."""
        self.lengths[str(length)] = {"rows": [asdict(row) for row in rows], "differences": gaps}

    def save(self) -> None:
        """Write it whole or not at all."""
        values = {name: getattr(self, name) for name in ("asked", "lengths", "first_calls")}
        write_whole(self.path, json.dumps(values).encode())

    def document(self, prompts: Sequence[int]) -> dict[str, Any]:
        """What the report is made from."""
        return self.asked | {
            "rows": [row for length in prompts for row in self.lengths[str(length)]["rows"]],
            "differences": {n: self.lengths[str(n)]["differences"] for n in prompts},
            "first_calls": self.first_calls,
        }


def markdown(document: dict[str, Any]) -> str:
    """The rates of all sides, then the ratios."""
    model, decoded = document["model"], document["decoded"]
    tokens = f"{decoded} token{'s' * (decoded > 1)}"
    seconds = ", ".join(
        f"{found:.0f} s for {tokens} token{'s' * (tokens != '1')}"
        for tokens, found in document["first_calls"].items()
    )
    return page(
        "The model compared with torch",
        document,
        f"{model['num_hidden_layers']} layers of width {model['hidden_size']}, vocabulary "
        f"{model['vocab_size']}; the same checkpoint for all, torch in bfloat16. Tokens/s, medians "
        "of clean samples (in brackets how many were clean; where none was, the median of all); a "
        f"sample of decode is {tokens}. Made by `python -m benchmarks.cpu_model`.",
        _rates(document),
        "Times as fast, the median over the turns in which every side was sampled once (those in "
        "which both were clean, where there are any):",
        _ratios(document),
        "Largest difference of the logits behind a prompt from torch eager's, in units of their "
        "spread: " + _differences(document) + ".",
        seconds and f"The first call of each compiled graph, compilation and one run: {seconds}.",
    )


def _rates(document: dict[str, Any]) -> list[str]:
    sides = document["sides"]
    rows = [
        (
            row["work"],
            *(
                f"{found['tokens_per_second']:.2f} ({found['clean_samples']}/{found['samples']})"
                for found in (row["sides"][name] for name in sides)
            ),
        )
        for row in document["rows"]
    ]
    return table(("work", *sides), rows, texts=1)


def _ratios(document: dict[str, Any]) -> list[str]:
    ratios = document["rows"][0]["ratios"]
    pairs = [(own, peer) for own, peers in ratios.items() for peer in peers]
    rows = [
        (row["work"], *(f"{row['ratios'][own][peer]:.2f}" for own, peer in pairs))
        for row in document["rows"]
    ]
    return table(("work", *(f"{own} / {peer}" for own, peer in pairs)), rows, texts=1)


def _differences(document: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {found:.3f} at {length}"
        for length, sides in document["differences"].items()
        for name, found in sides.items()
    )
