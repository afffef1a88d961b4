"""Times the same calls in two trees, in turn: a change of the machine's speed meets both."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.old_and_new.models import RELEASED, STORED
from benchmarks.old_and_new.trees import Side

LAYERS = 8
PREFILL, HISTORY, DECODED = 256, 200, 4
"""Tokens of a prefill, before a decode, and of a sample of decode."""
NEEDLE_TURNS = 12
"""Times as many samples of the needle model, whose steps are short."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast the new side is.

    `fast` compares the lower quartiles of both: whatever else runs on the machine only adds time.
    `turns` is the median of the ratios of single turns.
    """

    work: str
    old_seconds: float
    fast: float
    turns: float
    count: int


@dataclass(frozen=True, slots=True)
class Race:
    """Both sides, and how often each call is timed."""

    old: Side
    new: Side
    threads: int
    rounds: int

    def released(self, folders: tuple[Path, Path]) -> Iterator[Ratio]:
        """Prefill and decode of some layers of the released model, random weights of 4 bits."""
        raw = json.loads(RELEASED.read_text())
        raw |= {"num_hidden_layers": LAYERS, "mixer_types": raw["mixer_types"][:LAYERS]}
        for folder in folders:
            (folder / "released.json").write_text(json.dumps(raw))
        source = ("--config", "released.json", "--weights", "random", "--quantize", "int4-g128")
        self._open(folders, "released", source)
        yield self._prefill(f"{LAYERS} released layers", PREFILL, max(2, self.rounds // 4))
        yield self._decode(f"{LAYERS} released layers", self.rounds)

    def needle(self, folders: tuple[Path, Path]) -> Iterator[Ratio]:
        """A model of 3.5 million parameters, where a step's Python shows."""
        self._open(folders, "needle", (str(STORED["needle"]),))
        yield self._prefill("needle", PREFILL, self.rounds)
        yield self._decode("needle", NEEDLE_TURNS * self.rounds)

    def _open(self, folders: tuple[Path, Path], name: str, source: tuple[str, ...]) -> None:
        for side, folder in zip((self.old, self.new), folders, strict=True):
            artifact = str(folder / f"{name}.sala")
            side("compile_artifact", arguments=[*source, "-o", artifact])
            options = {"context": 4096, "threads": self.threads}
            side("time", artifact=artifact, options=options)

    def _prefill(self, model: str, length: int, rounds: int) -> Ratio:
        work = f"{model}, prefill of {length}"
        return self._raced(work, "prefill", {"length": length}, rounds)

    def _decode(self, model: str, rounds: int) -> Ratio:
        for side in (self.old, self.new):
            side("reset", length=HISTORY)
        work = f"{model}, decode after {HISTORY}"
        return self._raced(work, "decode", {"count": DECODED}, rounds)

    def _raced(self, work: str, action: str, arguments: dict[str, int], rounds: int) -> Ratio:
        """Warm up, then ask both in turn; who comes first changes with each turn."""
        for side in (self.old, self.new):
            side(action, **arguments)
        turns: list[tuple[float, float]] = []
        for turn in range(rounds):
            if turn % 2:
                new, old = self.new(action, **arguments), self.old(action, **arguments)
            else:
                old, new = self.old(action, **arguments), self.new(action, **arguments)
            turns.append((old, new))
        return ratio(work, turns)


def ratio(work: str, turns: list[tuple[float, float]]) -> Ratio:
    """Compare the seconds of both sides, in all turns."""
    old, new = (sorted(seconds) for seconds in zip(*turns, strict=True))
    quarter = len(turns) // 4
    return Ratio(
        work,
        old_seconds=old[quarter],
        fast=old[quarter] / new[quarter],
        turns=median(one / other for one, other in turns),
        count=len(turns),
    )
