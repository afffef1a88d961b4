"""What a piece of work reached of the ceilings around it."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from benchmarks import paired as module
from benchmarks.paired import ROUNDS, Paired, paired, times_as_fast
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.bench.ceiling_probe import CeilingProbe
from sala_compile.runtime.common.timing import Sample


class Changing:
    """A machine that becomes slower: each look at it takes the next of its list."""

    def __init__(self, rates: list[float], freedoms: list[float]) -> None:
        self._rates = [each for each in rates for _ in range(ROUNDS)]
        self._freedoms = freedoms

    def rate(self, kind: Ceiling) -> float:
        assert kind is Ceiling.READ
        return self._rates.pop(0)

    def freedom(self) -> float:
        return self._freedoms.pop(0)


def run(
    monkeypatch: pytest.MonkeyPatch, waited: list[float], freedoms: list[float], enough: int
) -> tuple[Paired, list[int]]:
    """10 units in 1, 2 and 2 seconds, while the ceiling falls from 12.5 to 3.125 units a second."""
    seconds = iter(zip((1.0, 2.0, 2.0), waited, strict=True))

    def timed(work: Callable[[], Any]) -> Sample:
        work()
        return Sample(*next(seconds))

    monkeypatch.setattr(module, "sample", timed)
    probe = cast(CeilingProbe, Changing([15.0, 10.0, 2.5, 3.75], freedoms))
    called: list[int] = []
    works = [lambda i=i: called.append(i) for i in range(3)]
    return paired(probe, works, {Ceiling.READ: 10.0}, enough), called


@pytest.mark.parametrize(
    ("waited", "freedoms", "counted", "seconds", "part"),
    [
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], 3, 2.0, 0.8),
        ([0.5, 0.5, 0.0], [1.0, 1.0, 1.0, 1.0], 1, 2.0, 1.6),
        ([0.0, 0.0, 0.0], [1.0, 1.0, 0.7, 1.0], 1, 1.0, 0.8),
        ([0.0, 0.0, 0.0], [1.0, 0.7, 1.0, 1.0], 1, 2.0, 1.6),
        ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0], 0, 2.0, 0.8),
    ],
)
def test_samples_that_count_are_compared_with_their_neighbours(
    monkeypatch: pytest.MonkeyPatch,
    waited: list[float],
    freedoms: list[float],
    counted: int,
    seconds: float,
    part: float,
) -> None:
    found, called = run(monkeypatch, waited, freedoms, 3)
    assert called == [0, 1, 2]
    assert (found.counted, found.total, found.seconds) == (counted, 3, seconds)
    assert found.reached == {Ceiling.READ: pytest.approx(part)}


def test_it_ends_when_enough_samples_count(monkeypatch: pytest.MonkeyPatch) -> None:
    found, called = run(monkeypatch, [0.5, 0.0, 0.0], [1.0] * 4, 1)
    assert called == [0, 1]
    assert (found.counted, found.total) == (1, 2)
    assert found.reached == {Ceiling.READ: pytest.approx(0.8)}


def test_sides_are_compared_turn_by_turn() -> None:
    """The machine is half as fast in the second half of the run: no ratio changes."""
    own = [Sample(1.0, 0.0), Sample(1.1, 0.0), Sample(2.0, 0.0), Sample(9.0, 0.5)]
    peer = [Sample(5.0, 0.0), Sample(5.5, 0.0), Sample(12.0, 0.0), Sample(9.0, 0.0)]
    assert times_as_fast(own, peer) == pytest.approx(5.0)
    assert times_as_fast(own[3:], peer[3:]) == pytest.approx(1.0)
