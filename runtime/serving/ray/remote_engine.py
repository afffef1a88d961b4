"""The engines of an application, as the routes of an ingress know one engine."""

import asyncio
import contextvars
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from ray.exceptions import RayError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, RequestCancelledError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.serving.ray.event_parcel import unpacked_events
from sala_compile.runtime.serving.ray.held_pages import PromptPages
from sala_compile.runtime.serving.ray.job_parcel import packed_job
from sala_compile.runtime.serving.ray.seen_measures import SeenMeasures
from sala_compile.runtime.serving.work.event import End, Ended, Event, PromptRead, TokenChosen
from sala_compile.runtime.serving.work.job import Job, Reuse
from sala_compile.runtime.serving.work.refusals import QueueFull, ReplicaLost

_TRIES = 3
"""How often a job that nothing was told of begins, each time at another replica."""
_LAST_SECONDS = 5.0
"""How long a job that is cancelled may take to say what it owes."""
_LOG = logging.getLogger("sala_compile.serve")


class RemoteEngine:
    """Takes jobs on the loop of an ingress, and brings their events to it."""

    def __init__(self, engines: DeploymentHandle[Any], pages: PromptPages) -> None:
        """For the handle of the engines' deployment."""
        self._answer = engines.options(method_name="answer", stream=True)
        self._cancel = engines.options(method_name="cancel")
        self._pages = pages
        self._tasks: set[asyncio.Task[None]] = set()
        self._after: list[Callable[[], None]] = []
        self._ask_usage = engines.options(method_name="usage")
        self._usage: dict[str, Mapping[str, Any]] = {}
        self._seen = SeenMeasures()
        self.failed: SalaError | None = None
        """Nothing: Ray replaces an engine that fails, and the others go on."""
        self.measures = self._seen.measures
        """What clients of this ingress saw; Ray has those of replicas and queues."""

    @property
    def ready(self) -> bool:
        """Whether jobs are taken: Ray sends none to an ingress that ends."""
        return True

    def usage(self) -> Mapping[str, Any]:
        """What the engines hold and do that this ingress had answers of, by their names.

        At the top what one of them says, for pages that show one; all as it was when it was last
        requested, which requests it again.
        """
        for name in self._usage:
            self._spawn(self._refresh(name))
        first = next(iter(self._usage.values()), dict[str, Any]())
        return {**first, "replicas": dict(self._usage)}

    def after_turns(self, act: Callable[[], None]) -> None:
        """Have a function called after the sinks of each turn, on the loop."""
        self._after.append(act)

    def submit(self, *jobs: Job) -> None:
        """Send jobs to replicas, each on its own; what refuses them is told as their end."""
        for job in jobs:
            self._seen.began(job)
            self._spawn(self._run(job))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Ray takes two calls of one request for one if they share its context."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh(self, name: str) -> None:
        try:
            response: Any = self._ask_usage.remote(to=name)
            found: dict[str, Any] = await asyncio.wait_for(response, _LAST_SECONDS)
        except (RayError, TimeoutError):
            found = {}
        if found.get("replica") == name:
            self._usage[name] = found
        else:
            self._usage.pop(name, None)  # it is gone, and another one answered

    async def _run(self, job: Job) -> None:
        """Answer a job, at another replica if one is lost before anything was told."""
        try:
            parcel = packed_job(job)
            reused = job.reuse is not Reuse.NONE and not job.prompt_logprobs
            pages = await asyncio.to_thread(self._pages.of, job.prompt, job.salt) if reused else b""
            for left in range(_TRIES - 1, -1, -1):
                if await self._try(job, parcel, pages, again=left > 0):
                    return
        except Exception as error:  # a mistake of ours: nobody may wait for an answer
            _LOG.error("a job could not be sent", exc_info=error)
            self._tell(job, [Ended(End.FAILED, SalaError(f"the job was not sent: {error!r}"))])

    async def _try(self, job: Job, parcel: bytes, pages: bytes, *, again: bool) -> bool:
        """Answer a job at one replica; False if it is lost and another may begin `again`."""
        number, told = secrets.token_hex(8), False
        stream = cast(
            "DeploymentResponseGenerator[Any]", self._answer.remote(parcel, number, pages=pages)
        )
        watch = _Cancelling(job, stream.cancel, self._cancel, number)
        try:
            async for events in self._events(stream, watch):
                told = told or any(_is_news(event) for event in events)
                self._tell(job, events)
                if isinstance(events[-1], Ended):
                    return True
            raise ReplicaLost("a replica left its answer")
        except (RequestCancelledError, TaskCancelledError, asyncio.CancelledError):
            self._tell(job, [Ended(End.CANCELLED)])
            return True
        except BackPressureError:
            full = QueueFull("too many requests wait", fix="try again later", retry_after=1.0)
            self._tell(job, [Ended(End.FAILED, full)])
            return True
        except (RayError, ReplicaLost) as error:
            if job.cancelled:
                self._tell(job, [Ended(End.CANCELLED)])
                return True
            _LOG.warning("a replica is lost (%s)", type(error).__name__)
            if again and not told:
                return False
            lost = ReplicaLost("the replica that answered is gone", fix="send the request again")
            self._tell(job, [Ended(End.FAILED, lost)])
            return True
        finally:
            watch.over()

    async def _events(
        self, stream: AsyncIterator[str | bytes], watch: "_Cancelling"
    ) -> AsyncIterator[list[Event]]:
        """What a replica says; first its name."""
        async for data in stream:
            if isinstance(data, str):
                watch.begun(data)
                known = self._usage
                if data not in known:
                    known[data] = {}
                    self._spawn(self._refresh(data))
            else:
                yield unpacked_events(data)

    def _tell(self, job: Job, events: Sequence[Event]) -> None:
        self._seen.told(job, events)
        with suppress(Exception):  # whatever a caller's function raises
            job.sink(events)
        for act in self._after:
            act()


class _Cancelling:
    """Ends a job at its replica when its holder cancels it here."""

    def __init__(
        self, job: Job, stop: Callable[[], None], ask: DeploymentHandle[Any], number: str
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop, self._ask, self._number = stop, ask, number
        self._replica: str | None = None
        self._observe = job.observe
        self._timer: asyncio.TimerHandle | None = None
        self._job = job
        job.on_cancel = self._hear
        if job.cancelled:
            self._end()

    def begun(self, replica: str) -> None:
        """Note which replica has the job."""
        self._replica = replica

    def over(self) -> None:
        """Note that the job has ended."""
        self._job.on_cancel = None
        if self._timer is not None:
            self._timer.cancel()
        self._replica = None

    def _hear(self) -> None:
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """A job that is observed says first what was read; others just end."""
        if self._job.on_cancel is None:
            return
        if self._observe and self._replica is not None and self._timer is None:
            self._ask.remote(self._number, to=self._replica)
            self._timer = self._loop.call_later(_LAST_SECONDS, self._stop)
        elif self._timer is None:
            self._stop()


def _is_news(event: Event) -> bool:
    """Whether a client may have seen it: what the beginning at another replica would repeat."""
    if isinstance(event, PromptRead):
        return bool(event.likelihoods)
    return isinstance(event, TokenChosen)
