"""A day of short requests at the engine thread of a server: what is held before, during and after.

    python -m benchmarks.serving_churn NAME.sala --requests 100000 --output FILE.md

Requests with common beginnings arrive without a pause, up to a limit that wait; one in ten is
cancelled at a random time. At regular places the program prints the pages and slots that jobs hold
or the prefix cache keeps, open descriptors, threads, and resident memory. In the end nothing may be
held but what the cache keeps, and every job has had exactly one end.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import psutil

import sala_compile
from benchmarks.machine import machine_document, machine_line
from benchmarks.markdown import table
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling.engine_thread import EngineThread
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.work.event import Ended, Event
from sala_compile.runtime.serving.work.job import Job

WAITING = 64
LOOKS = 10
OPENINGS = 32
COLUMNS = ["requests", "seconds", "pages", "slots", "snapshots", "descriptors", "threads", "MiB"]


class Ends:
    """Counts how jobs end; a place is free again after each."""

    def __init__(self) -> None:
        self.places = threading.Semaphore(WAITING)
        self.counts: Counter[str] = Counter()

    def sink(self, events: Sequence[Event]) -> None:
        """What every job is told."""
        if isinstance(events[-1], Ended):
            self.counts[str(events[-1].end)] += 1
            self.places.release()


@click.command(help=__doc__)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--requests", default=100_000)
@click.option("--seed", default=0)
@click.option("--output", type=click.Path(path_type=Path))
def main(artifact: Path, requests: int, seed: int, output: Path | None) -> None:
    """Send the requests, and print what is held."""
    random = np.random.default_rng(seed)
    with sala_compile.load(artifact, context=2048, batch=8, prefix_cache="16MiB") as model:
        engine = EngineThread(model.engine, SchedulingOptions(queue=2 * WAITING))
        engine.start()
        rows = _churn(model, engine, requests, random)
        engine.stop(60.0)
    machine = machine_line(
        machine_document(["numpy", "apache-tvm-ffi"], model.memory.plan.sizes.workers)
    )
    head = f"# {requests:,} short requests at the engine thread\n\n{machine}; {artifact.stem}"
    text = "\n".join([head, "", *table(COLUMNS, rows), ""])
    print(text)
    if output is not None:
        output.write_text(text, encoding="utf-8")


def _churn(
    model: Model, engine: EngineThread, requests: int, random: np.random.Generator
) -> list[list[str]]:
    vocabulary, ends, alive = model.vocabulary, Ends(), []
    openings = [random.integers(0, vocabulary, random.integers(8, 200)) for _ in range(OPENINGS)]
    began, rows = time.perf_counter(), []
    for number in range(requests + 1):
        if number % (requests // LOOKS) == 0:
            rows.append(_look(model, number, began))
            click.echo(f"{rows[-1][0]} requests, {rows[-1][-1]} MiB", err=True)
        if number == requests:
            break
        ends.places.acquire()
        opening = openings[random.integers(OPENINGS)]
        prompt = np.append(opening, random.integers(0, vocabulary, random.integers(1, 9)))
        job = Job(prompt.astype(np.int32), int(random.integers(1, 6)), ends.sink)
        job.client = str(random.integers(5))
        engine.submit(job)
        alive = [*alive[-WAITING:], job]
        if random.random() < 0.1:
            alive[random.integers(len(alive))].cancel()
    engine.drain(60.0)
    rows.append(_look(model, requests, began))
    assert sum(ends.counts.values()) == requests, ends.counts
    assert model.engine.store.slots.used == 0
    for _, pool in model.engine.store.groups.pools():
        assert pool.available == pool.count, "a page is lost"
    rows.append(["ends", *(f"{end} {count}" for end, count in sorted(ends.counts.items()))])
    return [[*row, *[""] * (len(COLUMNS) - len(row))] for row in rows]


def _look(model: Model, number: int, began: float) -> list[str]:
    store, process = model.engine.store, psutil.Process()
    pages = sum(pool.used for _, pool in store.groups.pools())
    held = [pages, store.slots.used, store.snapshots.used, process.num_fds(), process.num_threads()]
    resident = process.memory_info().rss / 2**20
    seconds = time.perf_counter() - began
    return [f"{number:,}", f"{seconds:.1f}", *map(str, held), f"{resident:.1f}"]


if __name__ == "__main__":
    main()
