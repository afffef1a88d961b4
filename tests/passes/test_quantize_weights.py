"""Quantised weights in the whole pipeline: what is merged, what stays, how far the logits move."""

from collections import Counter

import numpy as np
import pytest

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.support.callbacks import verify_each
from sala_compile.passes.support.quantization import Quantization
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.dialect import KernelCallOp, LinearOp, WeightType
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from tests.passes.fakes import accept_all
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint

IDS = np.random.default_rng(3).integers(0, 131, 90).tolist()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    """One layer of each kind."""
    raw = tiny_config(mixers=(SPARSE, LIGHTNING))
    return Checkpoint.open(write_checkpoint(tmp_path_factory.mktemp("small"), raw))


def lowered(checkpoint: Checkpoint, quantization: Quantization, dtype: Precision, stop: str | None):
    """The module after all passes, or up to one of them."""
    frontend = frontend_for(checkpoint.config)
    module = frontend.build_module(frontend.parse_config(checkpoint.config))
    passes = sala_pipeline(dtype, accept_all, quantization)
    return run_pipeline(module, passes, [verify_each], stop_after=stop)


def test_weights_of_one_encoding_become_one_matrix(checkpoint):
    module = lowered(
        checkpoint, Quantization.INT4_G32, Precision.BFLOAT16, stop="sink-row-selection"
    )
    found = Counter()
    for op in module.walk():
        if isinstance(op, LinearOp) and op.layer is not None:
            kind = op.weight.type
            assert isinstance(kind, WeightType)
            found[op.layer, kind.encoding.label, kind.get_shape()] += 1
    assert found == Counter(
        {
            (0, "int8-g128", (64 + 32 + 64, 64)): 1,
            (0, "int4-g32", (32, 64)): 1,
            (0, "int4-g32", (64, 64)): 1,
            (0, "int4-g32", (2 * 96, 64)): 1,
            (0, "int4-g32", (64, 96)): 1,
            (1, "int8-g128", (64, 64)): 1,
            (1, "int4-g32", (192, 64)): 2,  # q, k and v; gate and up
            (1, "int4-g32", (64, 64)): 1,
            (1, "int4-g32", (64, 96)): 1,
        }
    )


@pytest.mark.parametrize("dtype", list(Precision), ids=str)
def test_a_quantised_model_is_kernel_calls_over_panels(checkpoint, dtype):
    module = lowered(checkpoint, Quantization.INT8, dtype, stop=None)
    calls = [op for op in module.walk() if isinstance(op, KernelCallOp)]
    assert calls
    kinds = [value.type for op in calls for value in op.inputs]
    integers = [k for k in kinds if isinstance(k, WeightType) and not k.encoding.is_plain]
    assert {kind.layout.kind.data for kind in integers} == {"panel"}
    assert len({str(kind.element_type) for kind in integers}) == 1


def test_finer_integers_move_the_logits_less(checkpoint):
    def logits(quantization: Quantization) -> np.ndarray:
        module = lowered(checkpoint, quantization, Precision.FLOAT32, stop="encode-weights")
        return np.asarray(ReferenceModel(module, checkpoint, Rounding.EXACT).prefill(IDS))

    exact = logits(Quantization.NONE)
    errors = {
        kind: np.sqrt(np.mean((logits(kind) - exact) ** 2)) / exact.std()
        for kind in (Quantization.INT8, Quantization.INT4_G32, Quantization.INT4_G128)
    }
    assert 0 < errors[Quantization.INT8] < 0.05
    assert errors[Quantization.INT8] < errors[Quantization.INT4_G32] / 4
    assert errors[Quantization.INT4_G32] < errors[Quantization.INT4_G128] < 1.0
