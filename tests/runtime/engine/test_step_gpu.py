"""Steps on an emulated GPU: graphs, tokens that it chooses and feeds to itself, failures."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.append import Append
from sala_compile.runtime.engine.chunk import SampledToken, SequenceChunk
from sala_compile.runtime.errors import DeviceError, RequestError
from sala_compile.runtime.model import Model
from tests.support.emulated_gpu import EmulatedDriver
from tests.support.handmade import expected_logits
from tests.support.sequences import assert_unused

IDS = [3, 5, 8, 1, 9, 2, 28, 0, 11, 13, 1]
GREEDY = Draw(0.0, 1.0, 0, 0.0)


@pytest.fixture
def gpu(handmade_gpu: Path, drivers: list[EmulatedDriver]) -> Iterator[Model]:
    options = {"batch": 4, "sequences": 4, "chunk": 16}
    with sala_compile.load(handmade_gpu, device="cuda", **options) as loaded:
        yield loaded


def test_a_gpu_decodes_with_graphs_while_it_reads(gpu: Model, drivers: list[EmulatedDriver]):
    """Decoded rows run in the decode phase, whose graphs are those of any decode step."""
    decoding = [gpu.sequence() for _ in range(2)]
    for each in decoding:
        each.append(IDS)
    gpu.decode(decoding, [4, 5])
    with gpu.sequence() as reading, gpu.engine.append(reading.state, IDS) as call:
        part = call.next_chunk(4)
        assert part is not None
        log = drivers[0].log
        log.clear()
        mixed = [part, *(SequenceChunk.decode(each.state, 6) for each in decoding)]
        found = gpu.engine.step(mixed)
        kinds = [name for name in log if name in ("graph", "launch", "capture")]
        assert kinds == ["graph", "graph", "launch"], "decode and its logits, then the reading"
        for result, token in zip(found[1:], (4, 5), strict=True):
            assert result.logits is not None
            np.testing.assert_array_equal(result.logits[0], expected_logits([*IDS, token, 6])[-1])


def test_a_gpu_feeds_itself_the_tokens_of_a_batch(gpu: Model, drivers: list[EmulatedDriver]):
    """It chooses them for all rows, and the next step begins before the host has seen them."""
    texts = [list(IDS), [7, 7], [1, 2, 3]]
    sequences = [gpu.sequence() for _ in texts]
    calls = [
        gpu.engine.append(each.state, ids, draws=[GREEDY])
        for each, ids in zip(sequences, texts, strict=True)
    ]
    parts = [call.next_chunk() for call in calls]
    results = gpu.engine.step([part for part in parts if part is not None])
    for call, result in zip(calls, results, strict=True):
        call.done(result)
        call.close()
    chosen = [call.result.tokens[0] for call in calls]
    for turn in range(5):
        log = drivers[0].log
        log.clear()
        chunks = [
            SequenceChunk.decode(each.state, token, GREEDY)
            for each, token in zip(sequences, chosen, strict=True)
        ]
        following = [result.tokens[0] for result in gpu.engine.step(chunks)]
        if turn:  # the host takes the tokens of a step after the next has been queued
            assert log.count("copy_out") == 1
            assert log.count("graph") == 3
        for text, token in zip(texts, chosen, strict=True):
            assert token.take() == int(expected_logits(text)[-1].argmax())
            text.append(token.take())
        chosen = following
    for each, text in zip(sequences, texts, strict=True):
        assert each.token_ids == text
        np.testing.assert_array_equal(each.last_logits, expected_logits(text)[-1])


def test_a_chosen_token_belongs_to_its_sequence(gpu: Model):
    with gpu.sequence() as one, gpu.sequence() as two:
        two.append(IDS)
        [result] = gpu.engine.step([SequenceChunk.decode(one.state, 3, GREEDY)])
        [token] = result.tokens
        [wrong] = gpu.engine.step([SequenceChunk.decode(two.state, token, GREEDY)])
        assert isinstance(wrong.error, RequestError)
        assert two.token_ids == IDS
        [late] = gpu.engine.step([SequenceChunk.decode(one.state, token)])
        assert late.logits is not None
        text = [3, token.take()]
        assert one.token_ids == text
        np.testing.assert_array_equal(late.logits[0], expected_logits(text)[-1])


def test_a_failing_device_is_told_to_all(gpu: Model, drivers: list[EmulatedDriver]):
    one, two = gpu.sequence(), gpu.sequence()
    one.append(IDS)

    def fail(_: object) -> None:
        raise DeviceError("the GPU failed: as asked")

    call = gpu.engine.append(two.state, IDS)
    part = call.next_chunk()
    assert part is not None
    drivers[0].fail = fail
    with pytest.raises(DeviceError, match="as asked"):
        gpu.engine.step([SequenceChunk.decode(one.state, 4), part])
    drivers[0].fail = None
    call.close()
    assert two.token_ids == []
    with pytest.raises(RequestError, match="was interrupted"):
        one.append([1])
    one.truncate(0)
    np.testing.assert_array_equal(one.append(IDS), expected_logits(IDS)[-1])


def test_a_scheduler_is_a_loop(gpu: Model):
    """As the README of the engine shows it: prompts are read in chunks while others decode."""
    engine, prompts = gpu.engine, [[1 + i] * (3 + 9 * i) for i in range(6)]
    with ExitStack() as stack:
        waiting = list(enumerate(prompts))
        reading: dict[int, Append] = {}
        running: dict[int, SampledToken] = {}
        states, answers = {}, {number: [] for number, _ in waiting}
        while waiting or reading or running:
            admission = engine.admission
            while waiting and not admission.refusal(admission.call(None, 40)):
                number, ids = waiting.pop(0)
                states[number] = engine.states.open()
                stack.callback(engine.states.close, states[number])
                reading[number] = engine.append(states[number], ids, draws=[GREEDY])
            chunks = {n: SequenceChunk.decode(states[n], running[n], GREEDY) for n in running}
            budget = engine.limits.step_tokens - len(chunks)
            for number, call in reading.items():
                part = call.next_chunk(budget)
                if part is not None:
                    chunks[number] = part
                    budget -= len(part)
            results = engine.step([*chunks.values()])
            for number, result in zip(chunks, results, strict=True):
                if number in reading:
                    reading[number].done(result)
                    if not reading[number].finished:
                        continue
                    reading.pop(number).close()
                answers[number].append(result.checked().tokens[0].take())
                running[number] = result.tokens[0]
                if len(answers[number]) == 6:
                    del running[number]
                    engine.states.close(states[number])
    for number, ids in enumerate(prompts):
        assert answers[number] == gpu.generate(ids, 6, ignore_eos=True)
    assert_unused(gpu)
