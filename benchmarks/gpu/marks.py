"""A text that grows to a million tokens: what is measured at each mark on the way."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.results import Document
from sala_compile.runtime.common.units import format_tokens
from sala_compile.runtime.generation.generation import GenerationOptions

MARKS = (1 << 16, 1 << 18, 1 << 20)
WARM_UP, SKIPPED = 128, 2
"""Tokens of the first call, and the first of an answer, whose times do not count."""
Profile = Callable[[Any], list[dict[str, Any]]]
Point = tuple[int, float]
"""Tokens, and the seconds of their prefill."""


def predicted(points: Sequence[Point], mark: int) -> float | None:
    """Seconds of a prefill of `mark` tokens by the last two points: a t + b t^2 through both.

    By one point alone the time of a token stays what it is; None without any.
    """
    if not points:
        return None
    (tokens, seconds), before = points[-1], points[-2:-1]
    rate, growth = seconds / tokens, 0.0
    for shorter, less in before:
        growth = max(0.0, (rate - less / shorter) / (tokens - shorter))
    return (rate + growth * (mark - tokens)) * mark


def measure_marks(
    model: Any,
    document: Document,
    budget: Budget,
    *,
    marks: Sequence[int],
    steps: int,
    profile: Profile,
) -> None:
    """Write a row for the prefill, the decode and the kernels at every mark that has none.

    Seconds of a prefill are those from the beginning of the text: in the sparse regime a chunk
    costs the same whatever the length of the whole call.
    """
    missing = [mark for mark in marks if any(n not in document for n in _names(mark))]
    if not missing:
        return
    ids = np.random.default_rng(0).integers(3, model.vocabulary, marks[-1]).astype(np.int32)
    with model.sequence() as warm:
        warm.append(ids[:WARM_UP])
        warm.append(ids[:1])
        _ahead_seconds(model, warm, SKIPPED + 1, budget)
    spent = 0.0
    with model.sequence() as text:
        for mark in missing:
            whole = predicted(_points(document), mark)
            budget.require(None if whole is None else whole - spent)
            begin = budget.clock()
            text.append(ids[len(text) : mark])
            spent += budget.clock() - begin
            _measure_mark(model, document, budget, text, steps, spent, profile)


def _measure_mark(
    model: Any,
    document: Document,
    budget: Budget,
    text: Any,
    steps: int,
    spent: float,
    profile: Profile,
) -> None:
    prefill, decode, kernels = _names(len(text))
    if prefill not in document:
        document.add(prefill, tokens=len(text), seconds=spent)
    if decode not in document:
        budget.require(0.0)
        appended = _append_seconds(text, steps, budget)
        ahead = _ahead_seconds(model, text, steps, budget)
        document.add(
            decode,
            tokens=len(text),
            seconds=statistics.median(ahead),
            least_seconds=min(ahead),
            append_seconds=statistics.median(appended),
        )
    if kernels not in document:
        budget.require(0.0)
        document.add(kernels, tokens=len(text), kernels=profile(text))


def _names(mark: int) -> tuple[str, str, str]:
    at = format_tokens(mark)
    return f"prefill {at}", f"decode {at}", f"kernels {at}"


def _points(document: Document) -> list[Point]:
    """Every prefill that was measured, whichever call measured it."""
    rows = (row for row in document.rows if row["name"].startswith("prefill "))
    return sorted((row["tokens"], row["seconds"]) for row in rows)


def _append_seconds(text: Any, steps: int, budget: Budget) -> list[float]:
    """Each of some calls that append a token and fetch its logits."""
    times = []
    with text.fork() as copy:
        copy.append([5])
        for token in range(steps):
            begin = budget.clock()
            copy.append([token + 3])
            times.append(budget.clock() - begin)
    return times


def _ahead_seconds(model: Any, text: Any, steps: int, budget: Budget) -> list[float]:
    """Between tokens that the device chooses and feeds to its own next step."""
    options = GenerationOptions(max_new_tokens=SKIPPED + steps, ignore_eos=True)
    times = []
    with (
        text.fork() as copy,
        model.generation([5], options, sequence=copy, ahead=True) as answer,
    ):
        begin = budget.clock()
        for _ in answer.tokens():
            now = budget.clock()
            times.append(now - begin)
            begin = now
    return times[SKIPPED:]
