"""Jobs whose prompts begin with what is on disk."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.serving.kept import kept_prefixes
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.serving.scheduling.engine_thread import EngineThread
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.work.event import End, TokenChosen
from sala_compile.runtime.serving.work.job import Reuse
from sala_compile.runtime.state import stored_rows
from tests.support.sequences import used
from tests.support.served_jobs import job, run


@contextmanager
def _server(path: Path, directory: Path, **options: Any) -> Iterator[Any]:
    chosen = {"batch": 3, "chunk": 64, "context": 1152, "snapshot_every": 128} | options
    with sala_compile.load(path, prefix_cache="4MiB", poison=True, **chosen) as model:
        kept = KeptPrefixes(model, directory, 64 << 20)
        try:
            yield model, kept, Scheduler(model.engine)
        finally:
            kept.close(10)


def _prompt(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 64, length).astype(np.int32)


def test_a_conversation_goes_on_after_a_restart(compiled, tmp_path: Path):
    """From where its answer ended; read anew if what was generated is not wanted."""
    path, first, more = compiled("float32"), _prompt(300), _prompt(20, 1)
    with _server(path, tmp_path) as (_, _, scheduler):
        asked, told = job(first, 30)
        run(scheduler, asked)
        whole = np.concatenate([first, np.array(told.tokens, np.int32), more])
        again, wanted = job(whole, 5, logprobs=2)
        run(scheduler, again)
        cold, read = job(whole, 5, logprobs=2, reuse=Reuse.NONE)
        run(scheduler, cold)
    cached = {}
    for reuse in Reuse:
        with _server(path, tmp_path) as (model, _, scheduler):
            asked, told = job(whole, 5, logprobs=2, reuse=reuse)
            run(scheduler, asked)
            cached[reuse] = told.cached
            expected = wanted if reuse is Reuse.ANY else read
            assert told.likelihoods == expected.likelihoods
            assert used(model)["sequences"] == 0
    assert wanted.cached == 329
    assert cached == {Reuse.ANY: 329, Reuse.READ: 256, Reuse.NONE: 0}


def test_answers_go_on_while_a_prefix_comes(
    compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored_rows, "PIECE_BYTES", 2000)
    monkeypatch.setattr(kept_prefixes, "TURN_BYTES", 2000)
    path, prompt = compiled("float32"), _prompt(1000)
    with _server(path, tmp_path) as (_, _, scheduler):
        run(scheduler, job(prompt, 1)[0])
    with _server(path, tmp_path) as (_, kept, scheduler):
        running, before = job(_prompt(20, 1), 900)
        run(scheduler, running, until=lambda: len(before.tokens) > 3)
        asked, told = job(prompt, 1)
        counts: list[int] = []

        def watched() -> bool:
            if kept.info()["recalling"] and before.end is None:  # a disk may be slower than that
                counts.append(len(before.tokens))
            return told.end is not None

        run(scheduler, asked, until=watched)
        assert told.cached == 960
        assert len(counts) > 10
        assert counts[-1] - counts[0] >= len(counts) - 2, "a step with every turn"
        running.cancel()
        run(scheduler)


def test_others_begin_while_one_waits_for_a_disk(
    compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = compiled("float32")
    with _server(path, tmp_path) as (_, _, scheduler):
        run(scheduler, job(_prompt(300), 1)[0])
    with _server(path, tmp_path) as (model, kept, scheduler):
        monkeypatch.setattr(kept, "turn", lambda: False)  # nothing comes
        asked, told = job(_prompt(300), 1)
        other, its = job(_prompt(40, 2), 3)
        run(scheduler, asked, other, until=lambda: its.end is not None)
        assert its.end is End.LENGTH
        assert told.events == []
        assert scheduler.busy
        assert not scheduler.ready
        asked.cancel()
        scheduler.turn()
        assert told.end is End.CANCELLED
        assert used(model)["sequences"] == 0
        monkeypatch.undo()


def test_the_thread_sleeps_until_the_disk_has_done_its_part(compiled, tmp_path: Path):
    path, prompt = compiled("float32"), _prompt(600)
    for cached in (0, 576):
        with sala_compile.load(path, prefix_cache="4MiB", context=1152) as model:
            thread = EngineThread(model.engine)
            kept = KeptPrefixes(model, tmp_path, 64 << 20, wake=thread.wake)
            thread.start()
            done = threading.Event()
            asked, told = job(prompt, 2)
            sink = asked.sink

            def heard(events, sink=sink, done=done, told=told) -> None:
                sink(events)
                if told.end is not None:
                    done.set()

            asked.sink = heard
            thread.submit(asked)
            assert done.wait(60)
            assert told.cached == cached
            assert sum(isinstance(each, TokenChosen) for each in told.events) == 2
            thread.stop()
            kept.close(10)
