"""What the turns of a scheduler come to, in numbers."""

from collections.abc import Callable, Mapping
from typing import Any

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.serving.scheduling.directory_measures import DirectoryMeasures
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.scheduling.throughput import Throughput
from sala_compile.runtime.serving.work.event import End
from sala_compile.runtime.serving.work.measures import Measures
from sala_compile.runtime.state.pages import PagePool

_FRESH = 0.25
"""Seconds between two looks at what is held, while steps run."""
_WEIGHT = 0.1
"""What a new time between two ends counts, compared with those before it."""


class Records:
    """Keeps the measures of a server, and what it says about itself to people.

    `usage` is a new dictionary each time, which any thread may read.
    """

    def __init__(self, engine: Engine, measures: Measures, clock: Callable[[], float]) -> None:
        """Nothing has happened."""
        self._engine = engine
        self._measures = measures
        self._clock = clock
        self._throughput = Throughput()
        self._looked = 0.0
        self._evictions = 0
        self._directory = DirectoryMeasures(measures)
        self._newest_end: float | None = None
        self.seconds_per_job = 1.0
        """Seconds between two ends of jobs, of late; any thread may read it."""
        sizes = engine.plan.sizes
        configuration = {name: getattr(sizes, name) for name in ("context", "batch", "chunk")}
        pools = {name: pool.count for name, pool in engine.store.pools.items()}
        measures.configuration.info({k: str(v) for k, v in {**configuration, **pools}.items()})
        self.usage: Mapping[str, Any] = {}
        self.look({"running": 0, "waiting": 0, "parked": 0})

    def began(self, task: Task) -> None:
        """Note that a job left the queue."""
        measures, length = self._measures, len(task.prompt)
        measures.queued.observe(self._clock() - task.arrived)
        measures.prompt_tokens.inc(length)
        measures.cached_tokens.inc(task.cached)
        if task.reuses:
            measures.queries.inc(length)
            measures.hits.inc(task.cached)
            report = None if task.call is None else task.call.report
            if task.cached == 0 and report is not None and report.miss is not None:
                measures.misses.labels(report.miss).inc()

    def chose(self, task: Task) -> None:
        """Note a token of an answer."""
        now = self._clock()
        self._measures.answer_tokens.inc()
        if task.newest is None:
            self._measures.first_token.observe(now - task.arrived)
        else:
            self._measures.between_tokens.observe(now - task.newest)
        task.newest = now

    def verified(self, drafted: int, right: int) -> None:
        """Note drafted tokens, and how many of them were right."""
        self._measures.drafted_tokens.inc(drafted)
        self._measures.accepted_tokens.inc(max(0, right))

    def ended(self, task: Task, end: End) -> None:
        """Note the end of a job."""
        self._measures.ends.labels(end.value).inc()
        now = self._clock()
        self._measures.whole.observe(now - task.arrived)
        if self._newest_end is not None:
            between = now - self._newest_end
            self.seconds_per_job += _WEIGHT * (between - self.seconds_per_job)
        self._newest_end = now

    def stepped(self, seconds: float, read: int, answered: int) -> None:
        """Note a step, with the tokens that were read and those that were answered."""
        self._measures.step.observe(seconds)
        self._throughput.note(seconds, read, answered)

    def preempted(self) -> None:
        """Note that a job gave its memory to others."""
        self._measures.preemptions.inc()

    def failed(self) -> None:
        """Note a step that failed."""
        self._measures.failed_steps.inc()

    def turned(self, jobs: Mapping[str, int]) -> None:
        """Note the numbers of jobs after a turn: `running`, `waiting`, `parked`."""
        self._measures.running.set(jobs["running"])
        self._measures.waiting.set(jobs["waiting"])
        self._measures.parked.set(jobs["parked"])
        if not jobs["running"]:
            self._newest_end = None  # a pause says nothing about the time that jobs take
        if not any(jobs.values()) or self._clock() - self._looked >= _FRESH:
            self.look(jobs)

    def look(self, jobs: Mapping[str, int]) -> None:
        """Look at what is held now."""
        self._looked = self._clock()
        store, prefix, plan = self._engine.store, self._engine.prefix, self._engine.plan
        read, answered = self._throughput.rates()
        kept: dict[str, Any] = {"enabled": False} if prefix is None else prefix.info()
        self.usage = {
            **jobs,
            "context": self._engine.limits.context,
            "batch": self._engine.limits.batch,
            "memory": {
                "planned_bytes": plan.total_bytes,
                "parts": {str(part): size for part, size in plan.parts.items()},
                "pools": {name: _held(pool) for name, pool in store.pools.items()},
            },
            "prefix_cache": kept,
            "speed": {"prompt_tokens_per_second": read, "answer_tokens_per_second": answered},
        }
        measures, groups = self._measures, [pool for _, pool in store.groups.pools()]
        measures.pages_used.set(max(map(_share, groups), default=0.0))
        measures.states_used.set(_share(store.slots))
        measures.snapshots_used.set(store.snapshots.used / max(1, store.snapshots.count))
        if prefix is not None:
            measures.cached.set(kept["cached_tokens"])
            measures.evictions.inc(kept["evictions"] - self._evictions)
            self._evictions = kept["evictions"]
            if "directory" in kept:
                self._directory.look(kept["directory"])


def _share(pool: PagePool) -> float:
    """How much of a pool cannot be taken, from 0 to 1."""
    return 1 - pool.available / pool.count if pool.count else 0.0


def _held(pool: PagePool) -> dict[str, int]:
    return {"total": pool.count, "used": pool.used, "free_for_jobs": pool.available}
