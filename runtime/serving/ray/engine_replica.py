"""The deployment of an engine: one loaded model, its thread and its scheduler, in a replica."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from prometheus_client import generate_latest
from ray import serve

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import MemoryBudgetError, SalaError
from sala_compile.runtime.serving.http.event_post import EventBox, EventPost
from sala_compile.runtime.serving.kept.named_state import NamedState
from sala_compile.runtime.serving.opened_engine import opened_engine
from sala_compile.runtime.serving.ray.artifact_place import local_artifact
from sala_compile.runtime.serving.ray.event_parcel import packed_error, packed_events
from sala_compile.runtime.serving.ray.held_pages import held_pages
from sala_compile.runtime.serving.ray.job_parcel import unpacked_job
from sala_compile.runtime.serving.ray.prefix_router import HELD, VERSION
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.serving.work.event import End, Ended, Event
from sala_compile.runtime.serving.work.job import Job
from sala_compile.runtime.serving.work.refusals import NeverFits


class EngineReplica:
    """Answers jobs of ingresses, and says what it holds. Ray makes it, and calls it on a loop."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Load the model; what is wrong with the options keeps the replica from starting."""
        self._undo = ExitStack()
        self.name = serve.get_replica_context().replica_id.unique_id
        path = local_artifact(options["artifact"])
        opened = self._undo.enter_context(opened_engine(path, options))
        model, self._thread, self._states = opened.model, opened.thread, opened.states
        known = model.artifact.manifest.model.eos_token_ids
        ends = frozenset(model.generation_options().eos or known)
        self._structures = Structures(model.tokenizer, model.vocabulary, ends)
        self._undo.callback(self._structures.close)
        self._facts = {"context": model.context, "target": model.info()["target"]}
        self._jobs: dict[str, Job] = {}
        self._post: EventPost | None = None
        self._thread.start()

    async def facts(self) -> dict[str, Any]:
        """What an ingress has to know: `context` tokens at most, the `target` of the code."""
        return self._facts

    async def answer(
        self, parcel: bytes, number: str, pages: bytes = b"", to: str | None = None
    ) -> AsyncIterator[str | bytes]:
        """The name of this replica, then the events of a job, turn by turn, until its end.

        `number` names the job for `cancel`; `pages` and `to` are for the router. A caller that
        goes away ends the job.
        """
        box = EventBox(self._letters())
        found = await asyncio.to_thread(unpacked_job, parcel, self._structures)
        job = found.job(box.sink(0, lambda _: None))
        yield self.name
        try:
            self._thread.submit(job)
        except SalaError as error:
            yield packed_events([Ended(End.FAILED, _for_client(error))])
            return
        self._jobs[number] = job
        try:
            over = False
            while not over:
                await box.arrival()
                events: list[Event] = [event for _, letter in box.take() for event in letter]
                over = any(isinstance(event, Ended) for event in events)
                yield packed_events(events)
        finally:
            job.cancel()
            self._jobs.pop(number, None)

    async def cancel(self, number: str, to: str | None = None) -> bool:
        """End a job within a turn, with the events that it owes; whether it was here."""
        job = self._jobs.get(number)
        if job is not None:
            job.cancel()
        return job is not None

    async def create_state(
        self, name: str, ids: np.ndarray, given: dict[str, Any], pages: bytes = b""
    ) -> tuple[NamedState | None, bytes]:
        """Make a named state: it, or the error. A caller that goes away ends the reading."""
        if self._states is None:
            raise AssertionError("the ingress has states only with a prefix directory")
        states, gone = self._states, threading.Event()

        def create() -> NamedState:
            return states.create(name, ids, cancelled=gone.is_set, **given)

        try:
            return await asyncio.to_thread(create), b""
        except SalaError as error:
            return None, packed_error(_for_client(error))
        finally:
            gone.set()

    async def delete_state(self, name: str) -> bytes:
        """Remove a named state; the error, if there is one."""
        assert self._states is not None, "the ingress has states only with a prefix directory"
        try:
            await asyncio.to_thread(self._states.delete, name)
        except SalaError as error:
            return packed_error(error)
        return b""

    async def state_bytes(self, state: NamedState) -> int:
        """Bytes of the files of a named state."""
        return 0 if self._states is None else self._states.size(state)

    async def usage(self, to: str | None = None) -> dict[str, Any]:
        """What this replica holds and does, as JSON values."""
        return {"replica": self.name, "process": os.getpid(), **self._thread.usage()}

    async def metrics(self, to: str | None = None) -> bytes:
        """Its measures in the format of Prometheus."""
        return generate_latest(self._thread.measures.registry)

    async def record_routing_stats(self) -> dict[str, Any]:
        """What the router reads: the pages that the prefix cache holds."""
        try:
            found = self._thread.between_steps(_held)
            held = await asyncio.wrap_future(found)
        except SalaError:  # the engine failed or ends: nothing is held here
            held = b""
        version = hashlib.blake2b(held, digest_size=8).digest()
        return {HELD: held, VERSION: version}

    def check_health(self) -> None:
        """Raise once the engine cannot answer any more, so that Ray replaces the replica."""
        if self._thread.failed is not None:
            raise RuntimeError(f"the engine failed: {self._thread.failed}")

    def __del__(self) -> None:
        """End: Ray calls it when all answers have ended, or their time is over."""
        self._undo.close()

    def _letters(self) -> EventPost:
        if self._post is None:
            self._post = EventPost(asyncio.get_running_loop())
            self._thread.after_turns(self._post.send)
        return self._post


def _held(engine: Engine) -> bytes:
    return b"" if engine.prefix is None else held_pages(engine.prefix.tree)


def _for_client(error: SalaError) -> SalaError:
    """What can never run is a mistake of the request, not a moment without room."""
    if isinstance(error, MemoryBudgetError):
        return NeverFits(error.found, error.where, error.expected, error.fix)
    return error
