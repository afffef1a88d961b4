"""Signed roots of products of streams against the float64 reference."""

import numpy as np
import pytest

from sala_compile.codegen.kernels.score_streams.cpu import FAMILY
from sala_compile.codegen.kernels.score_streams.spec import Spec
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import score_streams
from tests.support.columns import column_starts, side_by_side
from tests.support.steps import EXTRA, Library, padded, poisoned, step

SIZES = ((4, 48, 1e-6), (2, 7, 1e-6), (3, 100, 0.0), (17, 16, 0.25), (1, 2, 1e-6))
TARGETS = (CpuTarget.host(), CpuTarget("x86-64-v3"))


def spec_of(streams: int, columns: int, least: float) -> Spec:
    """A spec whose key and query are columns of one buffer."""
    views, _ = column_starts({"key": streams * columns, "query": streams * columns})
    return Spec(streams, columns, columns**-0.5, least, **views)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("tokens", [1, 70, 700])
def test_equals_reference(target: CpuTarget, tokens: int) -> None:
    specs = [spec_of(*size) for size in SIZES]
    library = Library([FAMILY.build(spec, target) for spec in specs], target)
    for spec in specs:
        sizes = {name: spec.streams * spec.columns for name in ("key", "query")}
        merged = side_by_side(tokens, sizes, np.random.default_rng(tokens))
        merged[0, spec.query_start : spec.query_start + spec.columns] = 0
        out = poisoned(tokens + EXTRA, padded(spec.streams))
        control = step((tokens,)).field("control")
        library.call(spec.symbol, control, merged, merged, out)
        assert np.isnan(out[tokens:]).all()
        assert (out[:tokens, spec.streams :] == 0).all()
        key, query = (
            merged[:tokens, start : start + sizes["key"]].astype(np.float64)
            for start in (spec.key_start, spec.query_start)
        )
        wanted = score_streams(key, query, streams=spec.streams, scale=spec.scale, least=spec.least)
        assert out[0, 0] == wanted[0, 0] == 0
        found = out[:tokens, : spec.streams]
        # Squares: a root of a small product is as exact as the product.
        squares = [np.sign(each) * each.astype(np.float64) ** 2 for each in (found, wanted)]
        assert np.abs(squares[0] - squares[1]).max() <= 3e-6 * np.abs(squares[1]).max()
