"""The search for one kernel's schedule: from the default along one axis after the other."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from sala_compile.codegen.kernels.choices import Axis
from sala_compile.codegen.tuning.measurer import TrialEnded, TrialProcess
from sala_compile.codegen.vectors.tolerance import BFLOAT16_STEP, ROUNDED_PART
from sala_compile.runtime.artifact.tuning import KernelBuild, KernelTrial

PAIRS, FINAL_PAIRS = 8, 24
"""Samples of a candidate and of the default in turn: in the search, and of the winner."""
FINAL_SECONDS = 10.0
"""Time for the winner's samples, also when that of the search is over."""
LEAST_CLEAN = 3
"""Clean samples of a winner, in each case: fewer show nothing."""
LEAST_GAIN = 1.02
"""How many times faster than the default a winner is over all cases; less is noise."""
LARGEST_LOSS = 0.97
"""No case of a winner may reach less than this part of the default's speed."""
ALLOWED = ROUNDED_PART + BFLOAT16_STEP
"""Largest difference, in parts of the largest value, of a candidate that may change the order."""

Clock = Callable[[], float]
Tell = Callable[[Any, float | None], None]
"""Receives every candidate: the schedule, and its gain, None if it was refused."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The outcome for a kernel: `trials` are those of the winner, none if it is the default.

    `complete` says that no candidate was left out for time.
    """

    schedule: Any
    trials: tuple[KernelTrial, ...]
    tried: int
    refused: int
    complete: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A schedule of the search; `exact` while nothing that led to it may change a bit."""

    schedule: Any
    exact: bool
    gain: float


class Search:
    """Searches from the default schedule on; the deadline is checked before every candidate."""

    def __init__(
        self,
        measurer: TrialProcess,
        build: Callable[[Any], KernelBuild],
        deadline: float,
        *,
        clock: Clock = time.monotonic,
        tell: Tell = lambda schedule, gain: None,
    ) -> None:
        """`build` compiles the kernel with a schedule."""
        self._measurer, self._build, self._deadline = measurer, build, deadline
        self._clock, self._tell = clock, tell
        self._tried = self._refused = 0

    def run(self, default: Any, axes: tuple[Axis, ...]) -> SearchResult:
        """The best schedule: the default unless another is faster for certain."""
        self._default = self._build(default)
        best = _Candidate(default, True, 1.0)
        seen = [default]
        for axis in axes:
            base = best
            for schedule in axis.neighbours(base.schedule):
                if schedule in seen:
                    continue
                if self._clock() >= self._deadline:
                    return self._confirmed(default, best, complete=False)
                seen.append(schedule)
                gain = self._gain(schedule, base.exact and axis.exact, PAIRS)
                if gain is not None and gain > best.gain:
                    best = _Candidate(schedule, base.exact and axis.exact, gain)
        return self._confirmed(default, best, complete=True)

    def _confirmed(self, default: Any, best: _Candidate, *, complete: bool) -> SearchResult:
        """The best one measured once more and for longer, or the default."""
        counts = self._tried, self._refused, complete
        if best.schedule != default:
            trials = self._trial(best.schedule, FINAL_PAIRS, FINAL_SECONDS)
            if trials is not None and acceptable(trials, best.exact) and wins(trials):
                return SearchResult(best.schedule, tuple(trials), *counts)
        return SearchResult(default, (), *counts)

    def _gain(self, schedule: Any, exact: bool, pairs: int) -> float | None:
        self._tried += 1
        trials = self._trial(schedule, pairs, 1.0)
        gain = None
        if trials is None or not acceptable(trials, exact):
            self._refused += 1
        else:
            gain = mean_gain(trials) if _loses_nowhere(trials) else 0.0
        self._tell(schedule, gain)
        return gain

    def _trial(self, schedule: Any, pairs: int, seconds: float) -> list[KernelTrial] | None:
        left = max(seconds, self._deadline - self._clock())
        try:
            return self._measurer.trial(self._build(schedule), self._default, pairs, left)
        except TrialEnded:
            return None


def acceptable(trials: list[KernelTrial], exact: bool) -> bool:
    """Whether the results are the default's: to the bit if `exact`, else as near as an order is."""
    return all(
        trial.equal or (not exact and trial.difference <= ALLOWED * trial.largest)
        for trial in trials
    )


def mean_gain(trials: list[KernelTrial]) -> float:
    """How many times faster than the default, over all cases alike."""
    return prod(trial.case.gain for trial in trials) ** (1 / len(trials)) if trials else 1.0


def wins(trials: list[KernelTrial]) -> bool:
    """Whether a schedule is faster than the default for certain."""
    clean = all(trial.case.clean >= LEAST_CLEAN for trial in trials)
    return clean and mean_gain(trials) >= LEAST_GAIN and _loses_nowhere(trials)


def _loses_nowhere(trials: list[KernelTrial]) -> bool:
    return all(trial.case.gain >= LARGEST_LOSS for trial in trials)
