"""Every pass keeps the meaning: the module before and after it runs equal on the interpreter."""

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from sala_compile.sala_ir.interpreter import NewTokens, ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from tests.passes.fakes import accept_all
from tests.support.checkpoints import VARIATIONS, write_checkpoint


def snapshots(module: ModuleOp, dtype: Precision) -> dict[str, ModuleOp]:
    """The module after every pass before kernels are chosen, the captured one as ''."""
    stages: dict[str, ModuleOp] = {}

    def keep(previous, module, following):
        stages["" if previous is None else previous.name] = module.clone()

    run_pipeline(module, sala_pipeline(dtype, accept_all), [keep], stop_after="encode-weights")
    return stages


def run_ragged(module: ModuleOp, checkpoint: Checkpoint, rounding: Rounding) -> np.ndarray:
    """Logits of a prefill in pieces in both regimes, mixed batches, then decoding."""
    model = ReferenceModel(module, checkpoint, rounding)
    ids = np.random.default_rng(5).integers(0, checkpoint.config["vocab_size"], 256).tolist()
    steps = [
        [NewTokens(0, ids[:50], 101), NewTokens(1, ids[50:57])],
        [NewTokens(1, ids[57:58]), NewTokens(0, ids[58:109], 101, [0, 50]), NewTokens(2, ids[:63])],
        [NewTokens(2, ids[109:110]), NewTokens(0, ids[110:111]), NewTokens(1, ids[111:112])],
        [NewTokens(0, ids[112:113]), NewTokens(2, ids[113:114])],
    ]
    return np.concatenate([rows for step in steps for rows in model.step(step)])


@pytest.fixture(scope="module")
def checkpoint(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    return Checkpoint.open(write_checkpoint(path, VARIATIONS[request.param]))


def captured(checkpoint, attention=AttentionMode.CONFIG):
    frontend = frontend_for(checkpoint.config)
    return frontend.build_module(frontend.parse_config(checkpoint.config), attention)


@pytest.mark.parametrize("checkpoint", VARIATIONS, indirect=True)
def test_all_passes_together_in_float64(checkpoint):
    stages = snapshots(captured(checkpoint), Precision.FLOAT32)
    expected = run_ragged(stages[""], checkpoint, Rounding.EXACT)
    found = run_ragged(stages["encode-weights"], checkpoint, Rounding.EXACT)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("checkpoint", ["group-16-head-dim-8", "heads-12-biases"], indirect=True)
@pytest.mark.parametrize("dtype", list(Precision), ids=str)
def test_each_pass_alone_with_its_rounding(checkpoint, dtype):
    stages = snapshots(captured(checkpoint), dtype)
    del stages[""]  # assign-precision is where rounding begins
    previous = None
    for name, module in stages.items():
        found = run_ragged(module, checkpoint, Rounding.ROUNDED)
        if previous is not None:
            np.testing.assert_allclose(found, previous, atol=2e-3, err_msg=name)
        previous = found


@pytest.mark.parametrize("checkpoint", ["group-1-tied"], indirect=True)
@pytest.mark.parametrize("mode", [AttentionMode.SPARSE, AttentionMode.DENSE])
def test_attention_modes_in_float64(checkpoint, mode):
    stages = snapshots(captured(checkpoint, mode), Precision.BFLOAT16)
    expected = run_ragged(stages[""], checkpoint, Rounding.EXACT)
    found = run_ragged(stages["encode-weights"], checkpoint, Rounding.EXACT)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
