"""What observed jobs are told of the blocks that the sparse layers read for them."""

from collections.abc import Iterator

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.work.event import BlocksRead, End, Ended
from tests.runtime.conftest import Compiled
from tests.support.sequences import assert_unused, text
from tests.support.served_jobs import Told, job, run

KIND = "selected_blocks"


@pytest.fixture
def model(compiled: Compiled) -> Iterator[Model]:
    """Sparse from 64 tokens on."""
    with sala_compile.load(compiled("float32"), context=320, batch=4, threads=1) as loaded:
        yield loaded
        assert_unused(loaded)


def _reads(told: Told) -> BlocksRead | None:
    """What a job was told of its blocks, once, before its end."""
    found = [each for each in told.events if isinstance(each, BlocksRead)]
    assert len(found) <= 1
    if found:
        assert told.events[-2] is found[0]
    assert isinstance(told.events[-1], Ended)
    return found[0] if found else None


def _watched(model: Model, prompt: np.ndarray, answer: list[int]) -> dict[int, np.ndarray]:
    """The blocks read for each token of an answer, by steps of one sequence that are watched."""
    engine, counts = model.engine, dict[int, np.ndarray]()

    def count(chunk: SequenceChunk) -> None:
        observer = engine.observer((KIND,))
        [result] = engine.step([chunk], observer=observer)
        if chunk.call is not None:
            chunk.call.done(result)
        if len(chunk.rows):
            for layer, roles in observer.result()[KIND].items():
                blocks = roles["blocks"][-1]
                more = np.bincount(blocks[blocks >= 0], minlength=40)
                counts[layer] = counts.get(layer, 0) + more

    with model.sequence() as sequence:
        with engine.append(sequence.state, prompt) as call:
            while (chunk := call.next_chunk()) is not None:
                count(chunk)
        for token in answer[:-1]:
            count(SequenceChunk.decode(sequence.state, token, None))
    return counts


def test_the_blocks_are_those_of_each_token_whatever_else_runs(model: Model):
    observed, told = job(text(model, 150), 30, observe=True)
    others = [job(text(model, 20 * n, n), 5 * n, observe=n == 3) for n in (1, 3, 7)]
    run(Scheduler(model.engine), observed, *(each for each, _ in others))
    expected = _watched(model, observed.prompt, told.tokens)
    reads = _reads(told)
    assert reads is not None
    assert reads.tokens == 30
    assert len(expected) > 0
    for layer, counts in expected.items():
        assert reads.reads[layer].tolist() == np.trim_zeros(counts, "b").tolist()
    assert len(reads.reads) == len(expected)
    assert [_reads(each) is not None for _, each in others] == [False, True, False]


def test_only_tokens_of_a_sparse_path_count(model: Model):
    """A prompt of 58 tokens is read on the dense path, and so are the first of its answer."""
    one, told = job(text(model, 58), 20, observe=True)
    short, nothing = job(text(model, 10), 5, observe=True)
    run(Scheduler(model.engine), one, short)
    reads = _reads(told)
    assert reads is not None
    paths = map(model.engine.stepper.rule.path, range(58, 78))
    assert reads.tokens == sum("sparse" in path for path in paths)
    assert reads.tokens < 20
    assert _reads(nothing) is None


def test_a_cancelled_job_is_told_what_was_read_so_far(model: Model):
    one, told = job(text(model, 100), 30, observe=True)
    scheduler = Scheduler(model.engine)
    run(scheduler, one, until=lambda: len(told.tokens) == 7)
    one.cancel()
    scheduler.turn()
    reads = _reads(told)
    assert told.end is End.CANCELLED
    assert reads is not None
    assert reads.tokens == 7
