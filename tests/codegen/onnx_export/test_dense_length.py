"""Where dense attention becomes sparse, and where blocks and windows begin and end.

Everything in onnxruntime, compared with the float64 reference: a prompt whole and in pieces, and
the tokens after it one by one, across `dense_len` and with every length in one batch.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.model_session import ModelSession, open_session
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.interpreter.reference_model import NewTokens
from tests.codegen.onnx_export.conftest import export
from tests.support.checkpoints import (
    LIGHTNING,
    SPARSE,
    reference_model,
    tiny_config,
    write_checkpoint,
)

DENSE, BLOCK, STRIDE, KERNEL = 97, 16, 4, 8
"""A `dense_len` that is no multiple of anything; a block, the stride and size of a window."""
BUDGET = 5 * BLOCK
"""Tokens of the blocks that a query reads: from there on some are left out."""
LENGTHS = (
    *(DENSE - 1, DENSE, DENSE + 1),
    *(end + step for end in (BLOCK, BUDGET, 7 * BLOCK) for step in (-1, 0, 1)),
    *(4 * KERNEL - 1, 4 * KERNEL, 112 + STRIDE, 112 + STRIDE + 1, 1),
)
LIMIT = 2e-4
NEW = 3
"""Tokens that are decoded after each prompt: from DENSE - 1 on they cross `dense_len`."""

MODELS: dict[str, dict[str, Any]] = {
    "sala": {},
    "unrotated-keys": {"attn_use_rope": True, "sparse": {"use_nope": True, "window_size": 16}},
}


@pytest.fixture(scope="module", params=MODELS)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ReferenceModel, Any]:
    """The reference, and a session of the export."""
    fields = dict(MODELS[request.param])
    sparse = {"dense_len": DENSE, **fields.pop("sparse", {})}
    config = tiny_config(mixers=(SPARSE, LIGHTNING), sparse=sparse, **fields)
    folder: Path = tmp_path_factory.mktemp("dense-length")
    checkpoint = write_checkpoint(folder / "checkpoint", config)
    path = export(checkpoint, folder / "model", OnnxElement.FLOAT32)
    return reference_model(checkpoint), open_session(path)


def _text(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 131, length + NEW)


def _expected(reference: ReferenceModel, text: np.ndarray) -> np.ndarray:
    """The logits of a prompt in one call, then of single tokens."""
    prompt, rest = text[:-NEW].tolist(), text[-NEW:].tolist()
    return np.concatenate([reference.prefill(prompt), *([reference.decode(t)] for t in rest)])


@pytest.mark.parametrize("length", LENGTHS)
def test_logits_are_those_of_the_reference(model: Any, length: int) -> None:
    """Where the pieces end makes no difference, nor whether the call says its length twice."""
    reference, runner = model
    text = _text(length)
    wanted = _expected(reference, text)
    for size in (length, 29, BLOCK):
        session, found = ModelSession(runner), list[np.ndarray]()
        for begin in range(0, length, size):
            piece = text[begin : min(begin + size, length)]
            ends_here = begin + size >= length
            found.append(session(piece, 0 if ends_here and size != 29 else length)[0])
        found += [session([token])[0] for token in text[-NEW:]]
        np.testing.assert_allclose(np.concatenate(found), wanted, rtol=0, atol=LIMIT)


def test_one_batch_takes_both_paths(model: Any) -> None:
    """Prompts around `dense_len`, padded on the left; tokens that cross it in some rows only."""
    reference, runner = model
    lengths = (DENSE - 1, DENSE, DENSE + 1, BLOCK, 7 * BLOCK + 1)
    width = max(lengths)
    ids, mask = (np.zeros((len(lengths), width), np.int64) for _ in range(2))
    for row, length in enumerate(lengths):
        ids[row, width - length :], mask[row, width - length :] = _text(length)[:-NEW], 1
    session = ModelSession(runner, len(lengths))
    prompts = session(ids, 0, mask)
    tokens = np.stack([_text(length)[-NEW:] for length in lengths])
    steps = np.concatenate([session(tokens[:, at]) for at in range(NEW)], axis=1)
    for row, length in enumerate(lengths):
        wanted = _expected(reference, _text(length))
        found = np.concatenate([prompts[row, width - length :], steps[row]])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=LIMIT)


def test_the_path_is_that_of_the_call(model: Any) -> None:
    """A piece that would be dense alone is sparse in a longer call, and the difference is seen."""
    reference, runner = model
    text, both = _text(DENSE + 40)[: DENSE - 1], list[np.ndarray]()
    for call in (0, DENSE + 40):
        reference.close(0)
        both += reference.step([NewTokens(0, text.tolist(), call or None)])
        found = ModelSession(runner)(text, call)[0]
        np.testing.assert_allclose(found, both[-1], rtol=0, atol=LIMIT)
    assert np.abs(both[0] - both[1]).max() > 10 * LIMIT
