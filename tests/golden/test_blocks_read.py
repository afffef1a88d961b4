"""The sparse regime really runs: kernels read the blocks that the config implies, no others."""

import json

import numpy as np
import pytest

import sala_compile
from sala_compile.sala_ir.frontends import AttentionMode
from tests.golden.conftest import NAMES
from tests.support.compiled import GOLDEN, compile_checkpoint


def implied(name: str, length: int) -> np.ndarray:
    """Blocks that each query of one call of `length` tokens reads."""
    config = json.loads((GOLDEN / name / "config.json").read_text())["sparse_config"]
    own = np.arange(length) // config["block_size"] + 1
    budget = config["topk"] + config["window_size"] // config["block_size"]
    return own if length < config["dense_len"] else np.minimum(own, budget)


@pytest.mark.parametrize("chunk", [7, None])
@pytest.mark.parametrize("name", NAMES)
def test_the_kernels_read_what_the_config_implies(load_golden, name, chunk):
    model = load_golden(name)
    dense_len = json.loads((GOLDEN / name / "config.json").read_text())["sparse_config"][
        "dense_len"
    ]
    for length in (dense_len - 1, dense_len, dense_len + 1, 300):
        ids = np.random.default_rng(length).integers(0, model.vocabulary, length)
        _, observed = model.logits(ids, chunk=chunk, observe=("blocks_read",))
        for read in observed["blocks_read"].values():
            wanted = np.broadcast_to(implied(name, length)[:, None], read.shape)
            np.testing.assert_array_equal(read, wanted)


def test_forced_dense_attention_reads_more_and_says_something_else(load_golden, tmp_path):
    name = NAMES[0]
    path = tmp_path / "dense.sala"
    compile_checkpoint(GOLDEN / name, path, attention=AttentionMode.DENSE)
    sparse = load_golden(name)
    ids = np.random.default_rng(1).integers(0, sparse.vocabulary, 300)
    with sala_compile.load(path, context=512, chunk=512) as dense:
        everything, observed = dense.logits(ids, observe=("blocks_read",))
        below = dense.logits(ids[:60])
    for read in observed["blocks_read"].values():
        np.testing.assert_array_equal(read[:, 0], np.arange(300) // 16 + 1)
    found = sparse.logits(ids)
    assert np.abs(found - everything)[96:].max() > 1.0
    np.testing.assert_allclose(found[:96], everything[:96], atol=1e-3)
    np.testing.assert_allclose(sparse.logits(ids[:60]), below, atol=1e-4)
