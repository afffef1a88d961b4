"""How long the parts of an answer took, and how much of its prompt is read."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sala_compile.runtime.serving.work.event import Event, PromptRead, Started, TokenChosen


@dataclass(slots=True)
class AnswerTiming:
    """Times of one choice, as its events come on the engine's thread; others may read them."""

    queue_seconds: float = 0.0
    cached: int = 0
    read: int = 0
    """Tokens of the prompt that are read, those that were known included."""
    began: float | None = None
    first: float | None = None
    last: float | None = None

    def note(self, events: Sequence[Event]) -> None:
        """Take the events of a turn."""
        now = time.perf_counter()
        for event in events:
            match event:
                case Started():
                    self.began, self.queue_seconds = now, event.queue_seconds
                    self.cached = self.read = event.cached_tokens
                case PromptRead():
                    self.read = event.tokens
                case TokenChosen():
                    self.first = now if self.first is None else self.first
                    self.last = now
                case _:
                    pass

    def document(self, prompt: int, answer: int) -> dict[str, Any]:
        """The times of an answer of so many tokens, as JSON."""
        reading = self._between(self.began, self.first)
        answering = self._between(self.first, self.last)
        read = prompt - self.cached
        return {
            "queue_seconds": self.queue_seconds,
            "prompt_seconds": reading,
            "answer_seconds": answering,
            "prompt_tokens_per_second": read / reading if reading else None,
            "tokens_per_second": (answer - 1) / answering if answering and answer > 1 else None,
        }

    def progress(self, prompt: int) -> dict[str, Any]:
        """How much of a prompt of so many tokens is read, as JSON."""
        elapsed = 0.0 if self.began is None else time.perf_counter() - self.began
        return {
            "total": prompt,
            "cache": self.cached,
            "processed": self.read,
            "time_ms": round(1000 * elapsed),
        }

    @staticmethod
    def _between(first: float | None, last: float | None) -> float:
        return 0.0 if first is None or last is None else last - first
