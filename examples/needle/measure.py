"""Asks a model held-out cases, and looks at what its sparse layers read while it answers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from examples.needle.haystack import Case, draw_case

DEPTHS = 10
"""How many parts of a text are told apart; the cases of a length take them in turn."""

Answer = tuple[np.ndarray, dict[str, dict[int, Any]]]
"""Logits of the rows that predict the value [value tokens, vocabulary], and observed values."""

Ask = Callable[[Case], Answer]
"""Runs the text and its value as one call, and says what the model would have answered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case went.

    `predicted` are the likeliest tokens behind the question and behind each right token of the
    value: if they are the value, a greedy answer is. `hit` says whether the last sparse layer read,
    for every token of the value, the block where the needle has it; `read` is the share of the
    blocks so far that the sparse layers read for the question's last token, on average.
    """

    length: int
    depth: float
    predicted: tuple[int, ...]
    expected: tuple[int, ...]
    hit: bool
    read: float
    logits: np.ndarray

    @property
    def is_right(self) -> bool:
        """Whether the greedy answer is the value."""
        return self.predicted == self.expected


def draw_cases(seed: int, length: int, count: int, hops: int = 1) -> Iterator[Case]:
    """Yield `count` cases of a length, their needles spread evenly over the text."""
    for index in range(count):
        spread = (index % DEPTHS + (index // DEPTHS % 7) / 7) / DEPTHS
        yield draw_case(seed, index, length=length, depth=spread, hops=hops)


def measure(ask: Ask, cases: Iterable[Case], block_size: int) -> Iterator[Outcome]:
    """Ask every case."""
    for case in cases:
        logits, observed = ask(case)
        hit, read = _reading(case, observed, block_size)
        predicted = tuple(int(token) for token in logits.argmax(axis=1))
        yield Outcome(
            *(len(case.token_ids), case.depth, predicted, case.answer_ids, hit, read),
            np.asarray(logits, np.float32),
        )


def ask_artifact(model: Any) -> Ask:
    """Ask a loaded artifact; one with dense attention has nothing to observe."""
    offered = model.artifact.program.observable
    kinds = [kind for kind in ("selected_blocks", "blocks_read") if offered.get(kind)]

    def ask(case: Case) -> Answer:
        ids = (*case.token_ids, *case.answer_ids)
        if not kinds:
            return model.logits(ids)[_rows(case)], {}
        logits, observed = model.logits(ids, observe=kinds)
        return logits[_rows(case)], observed

    return ask


def ask_reference(model: Any, chunk: int = 2048) -> Ask:
    """Ask a `sala_ir.interpreter.ReferenceModel`."""

    def ask(case: Case) -> Answer:
        ids = (*case.token_ids, *case.answer_ids)
        kinds = ("selected_blocks", "blocks_read")
        logits, observed = model.prefill(ids, chunk, observe=kinds)
        model.close(0)
        selected = observed["selected_blocks"]
        by_role = {
            layer: {"blocks": blocks, "counts": counts}
            for layer, (blocks, counts) in selected.items()
        }
        return logits[_rows(case)], {**observed, "selected_blocks": by_role}

    return ask


def accuracy(outcomes: Sequence[Outcome]) -> float:
    """The share of right answers among some."""
    return float(np.mean([outcome.is_right for outcome in outcomes]))


def by_depth(outcomes: Sequence[Outcome]) -> list[float | None]:
    """The accuracy in each of the `DEPTHS` parts of the text, None where no case falls."""
    parts: list[list[Outcome]] = [[] for _ in range(DEPTHS)]
    for outcome in outcomes:
        parts[min(int(outcome.depth * DEPTHS), DEPTHS - 1)].append(outcome)
    return [accuracy(part) if part else None for part in parts]


def _rows(case: Case) -> slice:
    last = len(case.token_ids) - 1
    return slice(last, last + len(case.answer_ids))


def _reading(case: Case, observed: dict[str, Any], block_size: int) -> tuple[bool, float]:
    if not observed.get("selected_blocks"):
        return True, 1.0
    row = len(case.token_ids) - 1
    reads = [layer[row] for layer in observed["blocks_read"].values()]
    read = float(np.mean(reads)) / (row // block_size + 1)
    last = observed["selected_blocks"][max(observed["selected_blocks"])]
    value = range(case.value_start, case.needle_stop - 1)
    hits = [
        _is_read(last["blocks"][row + index], last["counts"][row + index], position // block_size)
        for index, position in enumerate(value)
    ]
    return all(hits), read


def _is_read(blocks: np.ndarray, counts: np.ndarray, block: int) -> bool:
    """Whether some head reads a block; a negative count means that it reads all of them."""
    return bool((np.asarray(counts) < 0).any() or (np.asarray(blocks) == block).any())
