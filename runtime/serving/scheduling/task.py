"""A job on its way: what is done of it, and what it holds."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.append import Append
from sala_compile.runtime.generation.speculation import Speculation
from sala_compile.runtime.serving.scheduling.token_choice import TokenChoice
from sala_compile.runtime.serving.work.event import End, Event, Likelihood
from sala_compile.runtime.serving.work.job import Job, Reuse
from sala_compile.runtime.state.lower_tier import Recall
from sala_compile.runtime.state.store import State


@dataclass(eq=False, slots=True)
class Task:
    """A job that the scheduler has.

    `number` is its place among all arrivals, `arrived` the time. While it runs it has a `state`,
    and a `call` while it reads; `unread` are the texts to append after that, each with whether it
    was generated. `recall` brings the beginning of its prompt, which `is_looked_up` once. Then its
    newest `token` is chosen and not yet in the state; `speculation` drafts what may follow. `read`
    tokens of the prompt are told, with `of_prompt` their likelihoods.
    """

    job: Job
    number: int
    arrived: float
    choice: TokenChoice
    state: State | None = None
    call: Append | None = None
    unread: deque[tuple[np.ndarray, bool]] = field(default_factory=deque[tuple[np.ndarray, bool]])
    draws: Sequence[Draw] = ()
    texts: list[bytes] | None = None
    recall: Recall | None = None
    is_looked_up: bool = False
    token: int = -1
    answer: list[int] = field(default_factory=list[int])
    speculation: Speculation | None = None
    read: int = 0
    of_prompt: list[Likelihood | None] = field(default_factory=list[Likelihood | None])
    reads: dict[int, np.ndarray] = field(default_factory=dict[int, np.ndarray])
    observed: int = 0
    cached: int = 0
    newest: float | None = None
    told: list[Event] = field(default_factory=list[Event])
    deaf: bool = False

    @property
    def client(self) -> str:
        """Whom the job is for."""
        return self.job.client

    @property
    def priority(self) -> int:
        """The larger, the earlier."""
        return self.job.priority

    @property
    def age(self) -> tuple[int, int]:
        """Sorts the oldest job to the front, one of a larger priority before others."""
        return -self.priority, self.number

    @property
    def prompt(self) -> np.ndarray:
        """The ids of the prompt, int32 [tokens]."""
        return self.job.prompt

    @property
    def reuses(self) -> bool:
        """Whether it may begin with what is known of its prompt."""
        return self.job.reuse is not Reuse.NONE and not self.job.prompt_logprobs

    def ended(self, now: float) -> End | None:
        """What ends the job from outside, if it does: that nobody wants it, or that it is late."""
        deadline = self.job.deadline
        if self.job.cancelled or self.deaf:
            return End.CANCELLED
        return End.DEADLINE if deadline is not None and deadline <= now else None

    def sequence(self) -> State:
        """The state of a job that runs."""
        assert self.state is not None, "the job does not run"
        return self.state

    def tell(self, *events: Event) -> None:
        """Add events for the holder of the job."""
        self.told += events

    def deliver(self) -> Exception | None:
        """Give the holder what happened in this turn; what its sink raised, if it did."""
        events, self.told = self.told, []
        if not events or self.deaf:
            return None
        try:
            self.job.sink(events)
        except Exception as error:  # whatever a caller's function raises
            self.deaf = True
            return error
        return None
