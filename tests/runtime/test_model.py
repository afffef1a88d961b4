"""Loading and running a hand-made artifact whose logits are known."""

import gc
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tvm_ffi

import sala_compile
from sala_compile.runtime.devices.cpu.memory import CpuMemory
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.generation.generation import GenerationOptions
from sala_compile.runtime.model import Model
from tests.support.handmade import VOCABULARY, expected_logits
from tests.support.sequences import chunk, step, used

IDS = [3, 5, 8, 1, 9, 2, 28, 0, 11, 13, 1]


@pytest.fixture
def model(handmade: Path):
    """A model of three sequences, two in a step, all unwritten memory poisoned."""
    with sala_compile.load(handmade, batch=2, sequences=3, threads=2, poison=True) as loaded:
        yield loaded


def _unused(model: Model) -> bool:
    return not any(used(model).values())


@pytest.mark.parametrize("size", [None, 1, 3, 7, 8, 100])
def test_logits_do_not_depend_on_the_chunk(model: Model, size: int | None):
    np.testing.assert_array_equal(model.logits(IDS, chunk=size), expected_logits(IDS))
    assert _unused(model)


def test_a_whole_context_is_served(model: Model):
    ids = np.arange(64) % VOCABULARY
    np.testing.assert_array_equal(model.logits(ids), expected_logits(ids.tolist()))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_inner_values_come_with_the_logits(model: Model, size: int):
    logits, observed = model.logits(IDS, chunk=size, observe=("hidden",))
    np.testing.assert_array_equal(logits, expected_logits(IDS))
    hidden = observed["hidden"][0]
    np.testing.assert_array_equal(hidden[:, 0], np.cumsum(IDS) + 64 * 3 + 1024 * len(IDS))


def test_generation_continues_the_prompt(model: Model):
    tokens = model.generate(IDS, max_new_tokens=9, ignore_eos=True)
    text = list(IDS)
    for token in tokens:
        assert token == int(expected_logits(text)[-1].argmax())
        text.append(token)
    assert model.generate(IDS, max_new_tokens=9, ignore_eos=True) == tokens
    assert _unused(model)


def test_generation_ends_at_the_end_of_sequence(model: Model):
    ignoring = model.generate(IDS, max_new_tokens=40, ignore_eos=True)
    stopped = model.generate(IDS, max_new_tokens=40)
    assert stopped == ignoring[: ignoring.index(3) + 1]


def test_generation_ends_with_the_context(model: Model):
    tokens = model.generate([1] * 60, max_new_tokens=40, ignore_eos=True)
    assert len(tokens) == 5
    assert len(model.generate([1] * 64, max_new_tokens=40, ignore_eos=True)) == 1


def test_progress_counts_the_prompt(model: Model):
    seen: list[int] = []
    with model.generation(IDS, GenerationOptions(max_new_tokens=1), progress=seen.append) as answer:
        list(answer.tokens())
    assert seen == [8, 11]


def test_a_batch_of_unequal_lengths_gives_what_each_gives_alone(model: Model):
    texts = [IDS, IDS[4:7]]
    sequences = [model.sequence() for _ in texts]
    for sequence, text in zip(sequences, texts, strict=True):
        model.engine.finish(model.engine.append(sequence.state, text, chunk=2))
    for token in (4, 17):
        rows = model.decode(sequences, [token, token])
        for text, row in zip(texts, rows, strict=True):
            text = [*text, token]
            np.testing.assert_array_equal(row, expected_logits(text)[-1])
        texts = [[*text, token] for text in texts]
    chunks = [chunk(sequences[0], [1]), chunk(sequences[1], [2, 3, 4], rows=[0, 2])]
    mixed = np.concatenate([result.logits for result in model.engine.step(chunks)])
    np.testing.assert_array_equal(mixed[0], expected_logits([*texts[0], 1])[-1])
    np.testing.assert_array_equal(mixed[1:], expected_logits([*texts[1], 2, 3, 4])[-3::2])
    for sequence in sequences:
        sequence.close()
        sequence.close()
    assert _unused(model)


def test_two_answers_may_grow_in_turns(model: Model):
    options = GenerationOptions(max_new_tokens=6, ignore_eos=True)
    alone = [model.generate(ids, 6, ignore_eos=True) for ids in (IDS, [7, 7])]
    with model.generation(IDS, options) as one, model.generation([7, 7], options) as two:
        turns = list(zip(one.tokens(), two.tokens(), strict=True))
    assert [list(tokens) for tokens in zip(*turns, strict=True)] == alone


def test_an_abandoned_stream_gives_its_sequence_back(model: Model):
    with model.generation(IDS, GenerationOptions()) as answer:
        next(answer.tokens())
        assert not _unused(model)
    assert _unused(model)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "the prompt is empty"),
        ([1, VOCABULARY], f"{VOCABULARY} is not a token"),
        ([-1], "-1 is not a token"),
        ([1] * 65, "65 tokens do not fit the context"),
        ([1.5], "1.5 in the place 0"),
        ([[1, 2]], r"\[1, 2\] in the place 0"),
        (np.array([1.5]), "array of float64"),
        (np.array([[1, 2]]), "2 dimensions"),
    ],
)
def test_bad_prompts_are_refused(model: Model, ids: list, message: str):
    for call in (model.logits, model.generate):
        with pytest.raises(RequestError, match=message):
            call(ids)
    assert _unused(model)


@pytest.mark.parametrize("size", [0, -3])
def test_a_chunk_without_tokens_is_refused(model: Model, size: int):
    with pytest.raises(RequestError, match="a chunk of"):
        model.logits(IDS, chunk=size)


def test_what_cannot_be_observed_is_refused(model: Model):
    with pytest.raises(RequestError, match="'scores' cannot be observed") as caught:
        model.logits(IDS, observe=("scores",))
    assert "hidden" in str(caught.value)


def test_text_needs_a_tokenizer(model: Model):
    with pytest.raises(RequestError, match="no tokenizer"):
        list(model.stream("text"))
    with pytest.raises(RequestError, match="no tokenizer"):
        model.generate("text")


def test_unknown_options_are_refused(model: Model):
    with pytest.raises(RequestError, match="heat"):
        model.generate(IDS, heat=2.0)
    with pytest.raises(RequestError, match="use stream"):
        model.generate(IDS, stop="x")


def test_too_many_sequences_or_tokens_are_refused(model: Model):
    sequences = [model.sequence() for _ in range(3)]
    with pytest.raises(MemoryBudgetError, match="1 sequences are needed and 0 are free"):
        model.sequence()
    with pytest.raises(RequestError, match="a step of 3 sequences"):
        model.decode(sequences, [1] * 3)
    with pytest.raises(RequestError, match="with 9 tokens"):
        step(model, sequences[:1], [[1] * 9])
    with pytest.raises(RequestError, match="different sequences"):
        model.decode([sequences[0]] * 2, [1, 1])
    sequences[0].close()
    with pytest.raises(RequestError, match="is closed"):
        model.decode(sequences[:1], [1])


def test_running_out_of_pages_leaves_the_others_whole(model: Model):
    """32 pages of 4 tokens for three sequences of up to 64 tokens."""
    sequences = [model.sequence() for _ in range(3)]
    sequences[0].append([1] * 64)
    sequences[1].append([2] * 60)
    with pytest.raises(MemoryBudgetError, match="KV pages are needed"):
        sequences[2].append([3] * 8)
    np.testing.assert_array_equal(sequences[1].append([5]), expected_logits([2] * 60 + [5])[-1])
    sequences[0].close()
    np.testing.assert_array_equal(sequences[2].append([3] * 8), expected_logits([3] * 8)[-1])


def test_an_interrupted_sequence_does_not_go_on(model: Model, monkeypatch: pytest.MonkeyPatch):
    broken, whole, empty = model.sequence(), model.sequence(), model.sequence()
    whole.append(IDS)
    broken.append(IDS)
    program = model.engine.stepper.program

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(program, "run", interrupt)
        for sequence in (broken, empty):
            with pytest.raises(KeyboardInterrupt):
                sequence.append(IDS)
    with pytest.raises(RequestError, match="was interrupted"):
        broken.append([1])
    broken.truncate(0)
    for sequence in (broken, empty):
        np.testing.assert_array_equal(sequence.append(IDS), expected_logits(IDS)[-1])
    np.testing.assert_array_equal(whole.append([1]), expected_logits([*IDS, 1])[-1])


def test_two_threads_at_a_time_are_refused(model: Model):
    errors: list[BaseException] = []

    def other() -> None:
        try:
            model.logits(IDS)
        except RequestError as error:
            errors.append(error)

    with model.engine.visited():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread" in str(errors[0])
    np.testing.assert_array_equal(model.logits(IDS), expected_logits(IDS))


def test_another_thread_may_use_the_model_afterwards(model: Model):
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(model.logits(IDS)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], expected_logits(IDS))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(handmade: Path, threads: int):
    with sala_compile.load(handmade, threads=threads) as loaded:
        np.testing.assert_array_equal(loaded.logits(IDS), expected_logits(IDS))


def test_generation_allocates_no_tensors(model: Model, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a tensor is made after loading")

    monkeypatch.setattr(tvm_ffi, "from_dlpack", refuse)
    sequence = model.sequence()
    sequence.append(IDS)
    sequence.append([1])
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for token in range(20):
        sequence.append([token])
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    numpy_only = [tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)]
    kept = sum(stat.size for stat in after.filter_traces(numpy_only).statistics("filename"))
    held = sum(stat.size for stat in before.filter_traces(numpy_only).statistics("filename"))
    assert kept <= held


def test_counters_are_the_plan(model: Model):
    info = model.info()["memory"]
    plan = model.memory.plan
    assert info["total_bytes"] == plan.total_bytes == sum(info["parts"].values())
    assert info["parts"] == {str(part): size for part, size in plan.parts.items()}


def test_a_budget_is_kept_or_refused(handmade: Path):
    with sala_compile.load(handmade) as loaded:
        whole = loaded.info()["memory"]["total_bytes"]
    with sala_compile.load(handmade, memory=whole) as loaded:
        assert loaded.context == 64
    with sala_compile.load(handmade, memory=whole - 1) as loaded:
        assert loaded.context == 60
        assert loaded.info()["memory"]["total_bytes"] < whole
    with pytest.raises(MemoryBudgetError, match="context=60"):
        sala_compile.load(handmade, context=64, memory=whole - 1)
    with pytest.raises(MemoryBudgetError, match="give more memory"):
        sala_compile.load(handmade, memory="1K")


def test_more_memory_than_the_machine_has_is_refused_before_loading(
    handmade: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("memory is taken")

    monkeypatch.setattr(CpuMemory, "__init__", refuse)
    with pytest.raises(MemoryBudgetError, match="context=") as caught:
        sala_compile.load(handmade, context="1024M", batch=1000)
    assert "would fit" in str(caught.value)


def test_a_budget_gives_pages_to_further_sequences(handmade: Path):
    with sala_compile.load(handmade, sequences=4, memory="1M") as loaded:
        assert loaded.info()["pages"]["kv"]["total"] == 64
    with sala_compile.load(handmade, sequences=4) as loaded:
        small = loaded.info()
    budget = small["memory"]["total_bytes"] + 10 * 64
    with sala_compile.load(handmade, sequences=4, memory=budget) as loaded:
        info = loaded.info()
    assert info["pages"]["kv"]["total"] == 26
    assert info["memory"]["total_bytes"] <= budget


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 0},
        {"threads": 0},
        {"chunk": -1},
        {"sequences": 1, "batch": 2},
        {"context": "many"},
        {"memory": "much"},
        {"batch": True},
        {"context": 0},
    ],
)
def test_senseless_sizes_are_refused(handmade: Path, options: dict):
    with pytest.raises(RequestError):
        sala_compile.load(handmade, **options)


def test_a_closed_model_says_so(handmade: Path):
    loaded = sala_compile.load(handmade)
    loaded.close()
    loaded.close()
    with pytest.raises(RequestError, match="the model is closed"):
        loaded.logits(IDS)


def test_poison_shows_stale_reads(model: Model):
    model.logits(IDS)
    model.memory.poison_arena()
    assert np.isnan(model.memory.arrays["hidden"]).all()
    assert np.isnan(model.memory.arrays["ids"]).all(), "freed pages are poisoned"
    assert np.isnan(model.memory.arrays["sum"]).all(), "freed slots are poisoned"


def test_rows_asked_for_are_those_of_the_moment(model: Model):
    model.logits(IDS)
    take = model.memory.read_later("logits", 1)
    before = model.memory.read_rows("logits", [0])
    model.memory.poison_arena()
    np.testing.assert_array_equal(take(), before)
    assert np.isnan(model.memory.read_rows("logits", [0])).all()
