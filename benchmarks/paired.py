"""Work beside ceilings and peers of the moment: a shared machine changes its speed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from runtime.artifact.ceilings import Ceiling
from runtime.bench.ceilings import CeilingProbe
from runtime.timing import Sample, sample

ROUNDS = 3
"""Samples of a ceiling before and behind each piece of work."""


def paired(
    probe: CeilingProbe, works: Iterable[Callable[[], object]], amounts: Mapping[Ceiling, float]
) -> tuple[list[Sample], dict[Ceiling, float]]:
    """Time every piece of work between samples of some ceilings.

    `amounts` are the bytes or operations of one piece of work. Returns the samples, and what part
    of each ceiling the work reached: that of the samples directly before and behind it, the median
    over the clean pieces of work (over all where none was clean).
    """
    samples: list[Sample] = []
    parts: dict[Ceiling, list[float]] = {kind: [] for kind in amounts}
    before = {kind: _rates(probe, kind) for kind in amounts}
    for work in works:
        taken = sample(work)
        samples.append(taken)
        for kind, amount in amounts.items():
            behind = _rates(probe, kind)
            parts[kind].append(amount / taken.seconds / median(before[kind] + behind))
            before[kind] = behind
    chosen = [i for i, each in enumerate(samples) if each.clean] or list(range(len(samples)))
    return samples, {kind: median(part[i] for i in chosen) for kind, part in parts.items()}


def times_as_fast(own: Sequence[Sample], peer: Sequence[Sample]) -> float:
    """How many times as fast a side is as its peer that was sampled in turn with it.

    The median over the turns in which both were clean, over all where there is none.
    """
    turns = list(zip(own, peer, strict=True))
    chosen = [turn for turn in turns if all(each.clean for each in turn)] or turns
    return median(there.seconds / here.seconds for here, there in chosen)


def _rates(probe: CeilingProbe, kind: Ceiling) -> list[float]:
    return [probe.rate(kind) for _ in range(ROUNDS)]
