"""A token's bits depend on the text before it and on whether that was read or generated.

Reading is cut at absolute multiples of what the program states, after any history; several
generated tokens have the bits of single ones. Nothing else of a step matters.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import sala_compile
from sala_compile.codegen.options import AttentionMode
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.round_pages import PageStorage
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.model import Model
from sala_compile.runtime.sequence import TokenSequence
from tests.support.compiled import GOLDEN, compile_checkpoint

MULTIPLE, CHUNK, CONTEXT = 64, 512, 640
HISTORIES = (0, 37, 64, 255)
"""Tokens before what is read; the second half of them was generated."""


class Kind(NamedTuple):
    """How the model of a test is compiled."""

    dtype: Precision = Precision.FLOAT32
    attention: AttentionMode = AttentionMode.CONFIG
    target: str = "cpu"
    quantization: Quantization = Quantization.NONE
    activations: Activations = Activations.WIDE
    kv: PageStorage = PageStorage.WIDE


BF16, PORTABLE = Precision.BFLOAT16, "cpu:x86-64-v3"
KINDS = {
    "float32": Kind(),
    "float32 portable": Kind(target=PORTABLE),
    "float32 dense": Kind(attention=AttentionMode.DENSE),
    "bfloat16 sparse": Kind(BF16, AttentionMode.SPARSE),
    "bfloat16 portable": Kind(BF16, target=PORTABLE),
    "int4": Kind(BF16, quantization=Quantization.INT4_G32),
    "int4 pages": Kind(BF16, kv=PageStorage.INT4),
    "int8 rows": Kind(BF16, quantization=Quantization.INT8, activations=Activations.INT8),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    kind: Kind = request.param
    path: Path = tmp_path_factory.mktemp("bits") / "tiny.sala"
    compile_checkpoint(
        GOLDEN / "sala-tiny-a",
        path,
        dtype=kind.dtype,
        attention=kind.attention,
        targets=(kind.target,),
        quantization=kind.quantization,
        activations=kind.activations,
        kv=kind.kv,
    )
    with sala_compile.load(path, context=CONTEXT, chunk=CHUNK, batch=3, sequences=4) as loaded:
        yield loaded


@pytest.fixture
def ids(model: Model) -> np.ndarray:
    return np.random.default_rng(11).integers(0, model.vocabulary, CONTEXT).astype(np.int32)


def _logits(model: Model, *chunks: SequenceChunk) -> list[np.ndarray]:
    """The logits of a step of these chunks."""
    results = model.engine.step(chunks, all_or_none=True)
    return [result.logits for result in results if result.logits is not None]


def _read(sequence: TokenSequence, ids: np.ndarray, end: int, call_length: int) -> SequenceChunk:
    new = ids[len(sequence) : end]
    return SequenceChunk(sequence.state, new, call_length, rows=range(len(new)))


def _generated(sequence: TokenSequence, ids: np.ndarray, end: int) -> SequenceChunk:
    new = ids[len(sequence) : end]
    return SequenceChunk(sequence.state, new, end, generated=True, rows=range(len(new)))


def _begun(model: Model, ids: np.ndarray, history: int) -> TokenSequence:
    """A sequence of so many tokens, the second half of them generated."""
    sequence = model.sequence()
    if history > 1:
        _logits(model, _read(sequence, ids, history // 2, history // 2))
    while len(sequence) < history:
        _logits(model, _generated(sequence, ids, len(sequence) + 1))
    return sequence


def _in_pieces(
    model: Model, sequence: TokenSequence, ids: np.ndarray, ends: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The logits of a call up to the last of `ends`, and those of a generated token after it."""
    rows = [_logits(model, _read(sequence, ids, end, ends[-1]))[0] for end in ends]
    after = _logits(model, _generated(sequence, ids, ends[-1] + 1))[0]
    return np.concatenate(rows), after


@pytest.mark.parametrize("history", HISTORIES)
def test_reading_is_cut_at_absolute_multiples(model: Model, ids: np.ndarray, history: int):
    """Every row and what is kept of the text; a cut may leave one token."""
    assert model.engine.stepper.target.read_multiple == MULTIPLE
    random = np.random.default_rng(history)
    end = history + int(random.integers(3 * MULTIPLE, 5 * MULTIPLE))
    multiples = np.arange((history // MULTIPLE + 1) * MULTIPLE, end, MULTIPLE)
    for last in (end, int(multiples[-1]) + 1):
        with _begun(model, ids, history) as sequence:
            whole, after = _in_pieces(model, sequence, ids, [last])
        for cuts in (random.permutation(multiples)[:2], multiples):
            ends = [*sorted(int(cut) for cut in cuts), last]
            with _begun(model, ids, history) as sequence:
                found = _in_pieces(model, sequence, ids, ends)
            np.testing.assert_array_equal(found[0], whole, str(ends))
            np.testing.assert_array_equal(found[1], after, str(ends))


@pytest.mark.parametrize("history", HISTORIES)
def test_generated_tokens_have_the_bits_of_single_steps(
    model: Model, ids: np.ndarray, history: int
):
    """However many a step verifies, across the change of the attention path too."""
    first, end = history + 1, history + 30
    with _begun(model, ids, first) as sequence:
        single = [
            _logits(model, _generated(sequence, ids, length))[0]
            for length in range(first + 1, end + 1)
        ]
        after = _logits(model, _read(sequence, ids, end + 9, end + 9))[0]
    for ends in ([end], [first + 1, first + 8, end]):
        with _begun(model, ids, first) as sequence:
            found = [_logits(model, _generated(sequence, ids, length))[0] for length in ends]
            np.testing.assert_array_equal(np.concatenate(found), np.concatenate(single))
            found = _logits(model, _read(sequence, ids, end + 9, end + 9))[0]
            np.testing.assert_array_equal(found, after)


def test_whoever_shares_a_step_changes_nothing(model: Model, ids: np.ndarray):
    """Chunks of a prompt beside single tokens and several to verify of other sequences."""
    plans: list[tuple[int, list[int], Callable[..., SequenceChunk]]] = [
        (37, [64, 192, 230], lambda each, end: _read(each, ids, end, 230)),
        (64, [65, 66, 67], lambda each, end: _generated(each, ids, end)),
        (130, [135, 136, 142], lambda each, end: _generated(each, ids, end)),
    ]
    alone: list[list[np.ndarray]] = []
    for history, ends, chunk in plans:
        with _begun(model, ids, history) as sequence:
            alone.append([_logits(model, chunk(sequence, end))[0] for end in ends])
    sequences = [_begun(model, ids, history) for history, *_ in plans]
    for turn in range(3):
        order = np.random.default_rng(turn).permutation(3)
        chunks = [plans[index][2](sequences[index], plans[index][1][turn]) for index in order]
        for index, found in zip(order, _logits(model, *chunks), strict=True):
            np.testing.assert_array_equal(found, alone[index][turn])
    for sequence in sequences:
        sequence.close()


def test_what_a_caller_says_decides_not_the_number_of_tokens(model: Model, ids: np.ndarray):
    with model.sequence() as one, model.sequence() as other:
        read, whole = one.append(ids[:129]), other.append(ids[:128])
        assert not np.array_equal(read, whole)
        generated = other.fork()
        if model.artifact.manifest.attention == AttentionMode.CONFIG:
            np.testing.assert_array_equal(other.append(ids[128:129], generated=False), read)
        np.testing.assert_array_equal(
            generated.append(ids[128:131], generated=True),
            _steps_one_by_one(model, ids, 128, 131),
        )
        generated.close()


def _steps_one_by_one(model: Model, ids: np.ndarray, begin: int, end: int) -> np.ndarray:
    with model.sequence() as sequence:
        sequence.append(ids[:begin])
        for token in ids[begin:end]:
            row = model.decode([sequence], [int(token)])[0]
    return row
