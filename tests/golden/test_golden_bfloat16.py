"""bfloat16 against the reference rounded at the same points, position by position."""

import numpy as np
import pytest

from sala_compile.passes.assign_precision import Precision
from tests.golden.conftest import NAMES
from tests.support.compiled import GOLDEN
from tests.support.deviation import measure

NEAR = 0.05
"""Largest difference of a logit, in standard deviations, where the same blocks are read."""
TIE = 0.1
"""Relative distance of two scores that roundings may exchange: they are exponentials of dot
products of around 10, of which a hundredth is in doubt where values of two layers are rounded."""


@pytest.mark.parametrize("prompt", ["p0", "p1"])
@pytest.mark.parametrize("name", NAMES)
def test_deviation_is_that_of_the_rounded_reference(
    load_golden, expected, record_property, name, prompt
):
    """Only a position at which a near tie flipped may differ by more, and there are few."""
    ids = expected(name)[f"{prompt}.input_ids"]
    found = measure(load_golden(name, Precision.BFLOAT16), GOLDEN / name, ids)
    record_property("deviation", found.describe())
    print(found.describe())
    assert found.by_position[~found.flipped].max() < NEAR, found.describe()
    assert all(abs(flip.gap) < TIE for flip in found.flips), found.describe()
    assert found.flipped.mean() < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_without_sparse_selection_nothing_flips(load_golden, expected, name):
    """The dense prompt stays close to the float32 result, too."""
    golden = expected(name)
    logits = load_golden(name, Precision.BFLOAT16).logits(golden["p1.input_ids"])
    wanted = golden["p1.prefill_logits"]
    assert np.abs(logits - wanted).max() < 0.1 * wanted.std()
