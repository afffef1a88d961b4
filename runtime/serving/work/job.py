"""One answer that the engine owes to a caller."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from sala_compile.runtime.generation.sampling_options import SamplingOptions
from sala_compile.runtime.serving.work.constraint import Constraint
from sala_compile.runtime.serving.work.event import Event


class Reuse(StrEnum):
    """Which known beginnings of a prompt a job may continue from."""

    ANY = "any"  # those that this server generated as well
    READ = "read"  # only what was read: the answer is that of a cold server, to the bit
    NONE = "none"


@dataclass(eq=False, slots=True)
class Job:
    """A prompt and how to answer it; one for each choice of a request.

    `prompt` are int32 [tokens]. `ends` are the ids that end the answer, once it has `min_tokens`.
    With `logprobs`, each token comes with its log probability and so many alternatives; with
    `prompt_logprobs` those of the prompt as well. `client` names whom the scheduler is fair to;
    jobs of a larger `priority` come first. Jobs of different `salt` reuse nothing of each other.
    `allowed` are the ids that may be chosen, None for all. `deadline` is a time of
    `time.monotonic`. `sink` receives the events of each turn on the engine thread, and returns at
    once. With `observe` it is told before the end which blocks of the text the sparse layers read
    for the answer.
    """

    prompt: np.ndarray
    max_new_tokens: int
    sink: Callable[[Sequence[Event]], None]
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    ends: frozenset[int] = frozenset()
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: bool = False
    constraint: Constraint | None = None
    allowed: np.ndarray | None = None
    reuse: Reuse = Reuse.ANY
    salt: bytes = b""
    client: str = ""
    priority: int = 0
    deadline: float | None = None
    observe: bool = False
    cancelled: bool = False
    on_cancel: Callable[[], None] | None = None
    """Called by `cancel`, where the engine is in another process; from any thread, and again."""

    def cancel(self) -> None:
        """End the job within a turn, from any thread."""
        self.cancelled = True
        if (told := self.on_cancel) is not None:
            told()
