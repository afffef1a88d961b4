"""Work beside ceilings and peers of the moment: a shared machine changes its speed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.bench.ceiling_probe import CeilingProbe
from sala_compile.runtime.common.timing import Sample, sample

ROUNDS = 3
"""Samples of a ceiling before and behind each piece of work."""
FREE = 0.9
"""The machine was ours where its first-level caches were read this fast, beside the fastest."""


@dataclass(frozen=True, slots=True)
class Paired:
    """What was found: median seconds of the samples that count, and their parts of the ceilings.

    A sample counts where our threads did not wait for a CPU and nobody used their cores directly
    before and behind it; where `counted` is 0 all of them stand in the medians.
    """

    seconds: float
    counted: int
    total: int
    reached: dict[Ceiling, float]


def paired(
    probe: CeilingProbe,
    works: Iterable[Callable[[], object]],
    amounts: Mapping[Ceiling, float],
    enough: int,
) -> Paired:
    """Time pieces of work between samples of some ceilings until `enough` count, or all are done.

    `amounts` are the bytes or operations of one piece of work.
    """
    taken: list[Sample] = []
    counts: list[bool] = []
    parts: dict[Ceiling, list[float]] = {kind: [] for kind in amounts}
    before = {kind: _rates(probe, kind) for kind in amounts}
    free = probe.freedom()
    for work in works:
        taken.append(sample(work))
        freed, free = free, probe.freedom()
        counts.append(taken[-1].clean and min(freed, free) >= FREE)
        for kind, amount in amounts.items():
            behind = _rates(probe, kind)
            parts[kind].append(amount / taken[-1].seconds / median(before[kind] + behind))
            before[kind] = behind
        if sum(counts) >= enough:
            break
    chosen = [i for i, each in enumerate(counts) if each] or list(range(len(taken)))
    return Paired(
        seconds=median(taken[i].seconds for i in chosen),
        counted=sum(counts),
        total=len(taken),
        reached={kind: median(part[i] for i in chosen) for kind, part in parts.items()},
    )


def times_as_fast(own: Sequence[Sample], peer: Sequence[Sample]) -> float:
    """How many times as fast a side is as its peer that was sampled in turn with it.

    The median over the turns in which both were clean, over all where there is none.
    """
    turns = list(zip(own, peer, strict=True))
    chosen = [turn for turn in turns if all(each.clean for each in turn)] or turns
    return median(there.seconds / here.seconds for here, there in chosen)


def _rates(probe: CeilingProbe, kind: Ceiling) -> list[float]:
    return [probe.rate(kind) for _ in range(ROUNDS)]
