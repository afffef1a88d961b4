"""The measures of an ingress: what its clients saw, whichever engine answered."""

import time
from collections.abc import Sequence

from sala_compile.runtime.serving.work.event import Ended, Event, Started, TokenChosen
from sala_compile.runtime.serving.work.job import Job
from sala_compile.runtime.serving.work.measures import Measures


class SeenMeasures:
    """Counts the events of jobs; what is inside of engines, such as their pages, they count."""

    def __init__(self) -> None:
        self.measures = Measures()
        self._open: dict[int, tuple[float, float | None]] = {}

    def began(self, job: Job) -> None:
        """Note a new job."""
        self._open[id(job)] = time.monotonic(), None
        self.measures.running.set(len(self._open))

    def told(self, job: Job, events: Sequence[Event]) -> None:
        """Note what a job was told."""
        now = time.monotonic()
        for event in events:
            known = self._open.get(id(job))
            if known is not None:
                self._note(job, event, now, *known)

    def _note(self, job: Job, event: Event, now: float, begun: float, last: float | None) -> None:
        measures = self.measures
        match event:
            case Started():
                measures.prompt_tokens.inc(len(job.prompt))
                measures.cached_tokens.inc(event.cached_tokens)
                measures.queued.observe(event.queue_seconds)
            case TokenChosen():
                measures.answer_tokens.inc()
                since = begun if last is None else last
                histogram = measures.first_token if last is None else measures.between_tokens
                histogram.observe(now - since)
                self._open[id(job)] = begun, now
            case Ended():
                measures.whole.observe(now - begun)
                measures.ends.labels(str(event.end)).inc()
                del self._open[id(job)]
                measures.running.set(len(self._open))
            case _:
                return
