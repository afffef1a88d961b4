"""A request for answers while it is answered: its choices, their jobs, and what comes of them."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sala_compile.runtime.errors import MemoryBudgetError, SalaError
from sala_compile.runtime.serving.answers.answer_delta import AnswerDelta, AnswerToken
from sala_compile.runtime.serving.answers.answer_text import AnswerText
from sala_compile.runtime.serving.answers.prompt_tokens import PromptTokens
from sala_compile.runtime.serving.http.answer_timing import AnswerTiming
from sala_compile.runtime.serving.http.api_error import ApiError, of_sala_error, refused
from sala_compile.runtime.serving.http.blocks_document import blocks_document
from sala_compile.runtime.serving.http.event_post import EventBox
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.work.event import (
    BlocksRead,
    End,
    Ended,
    Event,
    PromptRead,
    TokenChosen,
)
from sala_compile.runtime.serving.work.job import Job

_LOG = logging.getLogger("sala_compile.serve")
_MANY = 64
"""Tokens whose text is made in a worker, so that the loop serves others meanwhile."""


class Echo:
    """The prompt at the front of an answer's text."""

    def __init__(self, text: str, tokens: PromptTokens | None = None) -> None:
        """The prompt `text`; with `tokens`, what it is read as, with log probabilities."""
        self.text = "" if tokens is not None else text
        self._rest = text
        self._tokens = tokens
        self._over = False

    def feed(self, events: Sequence[Event]) -> tuple[str, tuple[AnswerToken, ...]]:
        """What `events` add to the front."""
        if self._over:
            return "", ()
        tokens, had = self._tokens, len(self.text)
        if tokens is None:
            self._over = True
            return self._rest, ()
        found: list[AnswerToken] = []
        for event in events:
            if isinstance(event, PromptRead):
                found += tokens.feed(event)
            elif isinstance(event, TokenChosen | Ended):
                found += tokens.finish()
                self._over = True
                break
        self.text = tokens.text
        return self.text[had:], tuple(found)


@dataclass(slots=True)
class AnswerChoice:
    """One of the answers of a request: to the prompt of number `prompt` among its prompts."""

    index: int
    prompt: int
    job: Job
    answer: AnswerText
    echo: Echo | None = None
    ids: list[int] = field(default_factory=list[int])
    """The tokens of the answer, those after a stop string included."""
    timing: AnswerTiming = field(default_factory=AnswerTiming)
    reads: BlocksRead | None = None
    """What the sparse layers read for it, if that was requested and something was."""

    def feed(self, events: Sequence[Event]) -> AnswerDelta:
        """What became certain, the echoed prompt before it."""
        for event in events:
            if isinstance(event, TokenChosen):
                self.ids.append(event.token)
            elif isinstance(event, BlocksRead):
                self.reads = event
        echo, tokens = ("", ()) if self.echo is None else self.echo.feed(events)
        delta = self.answer.feed(events)
        if self.echo is None or not (delta or echo or tokens):
            return delta
        shift = len(self.echo.text)
        own = (replace(token, offset=token.offset + shift) for token in delta.tokens)
        return replace(delta, content=echo + delta.content, tokens=(*tokens, *own))

    @property
    def token_ids(self) -> list[int]:
        """The tokens of the answer."""
        return self.ids[: self.answer.completion_tokens]

    @property
    def times(self) -> dict[str, Any]:
        """How long the parts of the answer took, as JSON."""
        return self.timing.document(len(self.job.prompt), self.answer.completion_tokens)

    @property
    def ending(self) -> dict[str, Any]:
        """Members of its choice in JSON that are known at its end.

        What the sparse layers read for it, if that was requested, and that its time was over.
        """
        late = {"stop_reason": "timeout"} if self.answer.end is End.DEADLINE else {}
        if self.reads is None:
            return late
        length = len(self.job.prompt) + len(self.ids)
        return {**late, "blocks_read": blocks_document(self.reads, length)}

    @property
    def progress(self) -> dict[str, Any]:
        """How much of the prompt is read, as JSON."""
        return self.timing.progress(len(self.job.prompt))


@dataclass(slots=True)
class Exchange:
    """A request and its choices, from the jobs' submission to the end of the last one."""

    served: ServedModel
    id: str
    choices: list[AnswerChoice]
    box: EventBox
    created: int = field(default_factory=lambda: int(time.time()))
    _held: dict[int, AnswerDelta] = field(default_factory=dict[int, AnswerDelta])
    """The last news of choices whose reads are still to come."""
    _failure: ApiError | None = None

    @property
    def over(self) -> bool:
        """Whether all choices have ended well."""
        if self._held or self._failure is not None:
            return False
        return all(choice.answer.finished for choice in self.choices)

    def submit(self, client: str) -> None:
        """Let the jobs wait for their turn; ApiError if they cannot."""
        for number, choice in enumerate(self.choices):
            choice.job.client = client
            choice.job.sink = self.box.sink(number, choice.timing.note)
        try:
            self.served.engine.submit(*(choice.job for choice in self.choices))
            if self.served.log_prompts:
                self._log_prompts()
        except MemoryBudgetError as error:  # it would not fit if it were alone
            raise refused(None, error.found, "context_length_exceeded") from None
        except SalaError as error:
            raise of_sala_error(error) from None

    def _log_prompts(self) -> None:
        for number, ids in {choice.prompt: choice.job.prompt for choice in self.choices}.items():
            text = self.served.tokenizer.decode(ids.tolist())
            _LOG.info("%s prompt %d: %r", self.id, number, text)

    def cancel(self) -> None:
        """End the jobs that still run, within a step."""
        for choice in self.choices:
            if choice.answer.end is None:
                choice.job.cancel()

    async def settle(self, seconds: float) -> None:
        """Wait a moment for the first news; ApiError if the answer failed at once."""
        try:
            async with asyncio.timeout(seconds):
                await self.box.arrival()
        except TimeoutError:
            return
        for event in self.box.first_events():
            failure = _failure(event.end, event.error) if isinstance(event, Ended) else None
            if failure is not None:
                raise failure

    async def news(self) -> list[tuple[AnswerChoice, AnswerDelta]]:
        """What became certain since the last time, before the exchange is `over`.

        While a prompt is read, there is an empty delta for each part of it. ApiError where a choice
        failed, once what came before is told.
        """
        if self._failure is not None:
            raise self._failure
        await self.box.arrival()
        found: list[tuple[AnswerChoice, AnswerDelta]] = []
        for number, events in self.box.take():
            choice = self.choices[number]
            if choice.answer.finished and number not in self._held:
                continue
            delta = await self._feed(choice, events)
            delta = self._held.pop(number, delta)
            if choice.answer.stopped:
                choice.job.cancel()
                if choice.job.observe and not isinstance(events[-1], Ended):
                    self._held[number] = delta
                    continue
            if choice.answer.finished:
                self._failure = _failure(choice.answer.end, delta.error)
                if self._failure is not None:
                    break
            found.append((choice, delta))
        if self._failure is not None and not found:
            raise self._failure
        return found

    async def _feed(self, choice: AnswerChoice, events: Sequence[Event]) -> AnswerDelta:
        """Feed a choice, in a worker if that takes long."""
        many = len(events) >= _MANY or any(
            isinstance(event, PromptRead) and len(event.likelihoods) >= _MANY for event in events
        )
        if many:
            return await self.served.work(lambda: choice.feed(events))
        return choice.feed(events)

    def summary(self) -> str:
        """What the log says of it: numbers, no text."""
        answers = [choice.answer for choice in self.choices]
        ends = {
            str(answer.end or "stop string") if answer.finished else "left by the client"
            for answer in answers
        }
        usage = self.usage()
        cached = sum(choice.answer.cached_tokens for choice in self._firsts())
        return (
            f"{self.id}: {usage['prompt_tokens']} tokens of prompts ({cached} cached), "
            f"{usage['completion_tokens']} of {len(answers)} answers; "
            f"{', '.join(sorted(ends))}"
        )

    def _firsts(self) -> list[AnswerChoice]:
        """The first choice of each prompt."""
        return [*{choice.prompt: choice for choice in reversed(self.choices)}.values()]

    def usage(self) -> dict[str, object]:
        """The tokens of the request, each prompt counted once."""
        firsts = self._firsts()
        answers = [choice.answer for choice in self.choices]
        prompt = sum(len(choice.job.prompt) for choice in firsts)
        completion = sum(answer.completion_tokens for answer in answers)
        cached = sum(choice.answer.cached_tokens for choice in firsts)
        reasoning = sum(answer.reasoning_tokens for answer in answers)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }


def _failure(end: End | None, error: SalaError | None) -> ApiError | None:
    """The error of a job that ended without what it owes; None for others."""
    if end is End.FAILED:
        return of_sala_error(error or SalaError("the engine failed"))
    if end is End.SHUTDOWN:
        return ApiError(503, "the server ended before the answer was complete", code="shutdown")
    return None
