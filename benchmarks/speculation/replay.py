"""Writes a given answer after a prompt, as generation would."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sala_compile.runtime.generation.model_drafts import ModelDrafts
from sala_compile.runtime.generation.speculation import Speculation
from sala_compile.runtime.generation.step_costs import StepCosts
from sala_compile.runtime.sequence import TokenSequence


@dataclass(slots=True)
class Replay:
    """How an answer went: steps, drafted tokens and those that were right, logits of each token."""

    steps: int = 0
    drafted: int = 0
    right: int = 0
    seconds: float = 0.0
    rows: list[np.ndarray] = field(default_factory=list[np.ndarray])

    @property
    def logits(self) -> np.ndarray:
        """Float32 [tokens, vocabulary]: those after every token but the last."""
        return np.stack(self.rows)


def replay(
    sequence: TokenSequence,
    prompt: Sequence[int],
    answer: Sequence[int],
    *,
    drafts: bool,
    model: ModelDrafts | None = None,
) -> Replay:
    """Write `answer` after the prompt, at which the sequence has a snapshot, and return there.

    With `drafts` they come from the text, and from a draft `model` that has read the prompt.
    """
    found, place = Replay(), 1
    began = time.perf_counter()
    speculation = Speculation([*prompt, answer[0]], model) if drafts else None
    costs = StepCosts()

    def choose(logits: np.ndarray) -> int:
        found.rows.append(logits.copy())
        return answer[len(found.rows)]

    def ends() -> bool:
        return len(found.rows) == len(answer) - 1

    while not ends():
        room = min(sequence.draft_room, len(answer) - 1 - place)
        guessed = []
        if speculation is not None:
            guessed = speculation.draft(room, costs.slope(1), costs.seconds(1))
        verified = time.perf_counter()
        if guessed:
            chosen = sequence.verify([answer[place - 1], *guessed], choose, ends)
        else:
            chosen = [choose(sequence.append([answer[place - 1]], generated=True))]
        place += len(chosen)
        found.steps += 1
        found.drafted += len(guessed)
        found.right += len(chosen) - 1
        if speculation is not None:
            speculation.observe(chosen)
            costs.note(1 + len(guessed), time.perf_counter() - verified)
    found.seconds = time.perf_counter() - began
    sequence.truncate(len(prompt))
    return found
