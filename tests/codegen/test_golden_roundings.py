"""What golden logits are allowed follows from what the roundings of the graph change."""

import json
from pathlib import Path

import numpy as np

from sala_compile.codegen.write.golden_file import ALLOWED, ROUNDINGS
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.verify import verify_artifact
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.interpreter import NewTokens, ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from tests.support.compiled import GOLDEN, compile_checkpoint, kernel_level_module

PLACE = GOLDEN / "qwen3-a"
IDS = list(range(3, 15))


def test_the_first_of_several_copies_is_not_rounded() -> None:
    module = kernel_level_module(PLACE, Precision.BFLOAT16)
    with Checkpoint.open(PLACE) as weights:
        once = {
            rounding: ReferenceModel(module, weights, rounding).step([NewTokens(0, IDS)])[0]
            for rounding in Rounding
        }
        model = ReferenceModel(module, weights, Rounding.ROUNDED, copies=2)
        exact, rounded = model.step([NewTokens(0, IDS), NewTokens(1, IDS)])
    np.testing.assert_allclose(rounded, once[Rounding.ROUNDED], rtol=0, atol=1e-6)
    moved = np.abs(rounded - once[Rounding.EXACT]).max()
    assert np.abs(exact - once[Rounding.EXACT]).max() < 0.7 * moved


def test_what_is_allowed_is_no_less_than_what_roundings_change(tmp_path: Path) -> None:
    path = tmp_path / "a.sala"
    compile_checkpoint(PLACE, path, dtype=Precision.BFLOAT16)
    assert verify_artifact(path).passed
    golden = json.loads((path / "golden.json").read_text())
    module = kernel_level_module(PLACE, Precision.BFLOAT16)
    with Checkpoint.open(PLACE) as weights:
        model = ReferenceModel(module, weights, Rounding.ROUNDED, copies=2)
        exact, rounded = model.step([NewTokens(0, IDS), NewTokens(1, IDS)])
    usual = ROUNDINGS * float(np.abs(rounded - exact).max())
    least = ALLOWED[Precision.BFLOAT16] * float(rounded.std())
    allowed = golden["sequences"][0]["absolute"]
    assert 0.3 * max(usual, least) < allowed < 3 * max(usual, least)
