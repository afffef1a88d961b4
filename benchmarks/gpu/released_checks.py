"""Tests of the kernels that prepared artifacts of the released model call, with their schedules.

`kernel_checks.py` runs them. Kernels of rows are those of the product to the bit; of the weights of
linears as few rows are taken as leave tiles, splits and depth as they are, and of the vocabulary a
part. What reads caches has its tests of the released heads in `test_product_schedules.py`.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from sala_compile.codegen.kernels.family import KernelFamily
from sala_compile.codegen.kernels.linear.gpu.spec import LinearForm, Spec, default_tiles
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.tir.element import Element
from tests.codegen.kernels import test_gpu_rows as rows
from tests.codegen.kernels.linear import test_gpu as linear
from tests.support.interpreted import TARGET
from tests.support.rows import exact

PREPARED = "SALA_PREPARED"
"""Names the folder of the artifacts in the environment."""
WEIGHT_ROWS, VOCABULARY = 256, 70
TOKENS = {LinearForm.ROWS: 5, LinearForm.TILES: 130}
ROW_KERNELS = {
    "rms_norm": rows.test_rms_norm,
    "embedding": rows.test_embedding,
}


def specs(*families: str) -> list[Any]:
    """The specs of kernels of the released artifacts, each once, as parameters of a test."""
    found: dict[str, Any] = {}
    if PREPARED in os.environ:
        for path in sorted(Path(os.environ[PREPARED]).glob("released-*.sala/manifest.json")):
            for kernel in json.loads(path.read_text())["kernels"]:
                name, symbol = kernel["family"], kernel["symbol"]
                if name in families:
                    spec = family(name, "gpu").spec.parse(kernel["spec"])
                    found[symbol] = pytest.param(name, spec, id=symbol)
    return list(found.values())


@pytest.mark.parametrize(("name", "spec"), specs("linear"))
def test_linear(name: str, spec: Spec) -> None:
    """The output and its padding; the largest value bounds what sums in float32 may miss."""
    schedule = default_tiles(spec, TARGET)
    problem = linear.Problem(replace(spec, rows=min(spec.rows, WEIGHT_ROWS)), TOKENS[spec.form])
    columns, expected = problem.spec.columns, problem.expected
    out = problem.run(schedule)[: problem.rows]
    allowed = 8e-3 if spec.output is Element.BF16 else 1e-4
    assert np.abs(exact(out[:, :columns]) - expected).max() <= allowed * np.abs(expected).max()
    assert not out[:, columns:].any()


@pytest.mark.parametrize(("name", "spec"), specs(*ROW_KERNELS))
def test_rows(name: str, spec: Any) -> None:
    """As the tests of rows, with the schedule of the product."""
    build = KernelFamily.build
    if name == "embedding":
        spec = replace(spec, vocabulary=VOCABULARY)
    with patch.object(
        KernelFamily, "build", lambda self, spec, target, _: build(self, spec, target)
    ):
        ROW_KERNELS[name](spec, 5)
