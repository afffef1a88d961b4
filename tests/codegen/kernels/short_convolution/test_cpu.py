"""Short convolutions against the float64 reference."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.short_convolution.cpu import FAMILY
from sala_compile.codegen.kernels.short_convolution.spec import Spec
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support.convolution import ConvolutionInputs, spec_of
from tests.support.steps import EXTRA, Library, Step, padded, poisoned, step

FIELDS = ("control", "offsets", "history", "slots", "checkpoints")
HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")


SPECS = (
    spec_of(Spec, 48, 4, bias=False),
    spec_of(Spec, 100, 4, bias=True),
    spec_of(Spec, 7, 2, bias=True),
    spec_of(Spec, 64, 3, bias=False),
    spec_of(Spec, 33, 5, bias=False),
    spec_of(Spec, 96, 4, bias=False, dilation=3),
    spec_of(Spec, 21, 3, bias=True, dilation=2),
    spec_of(Spec, 40, 5, bias=False, dilation=5),
)


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    return Library([FAMILY.build(spec, target) for spec in SPECS], target)


class Inputs(ConvolutionInputs):
    """Inputs that the kernel runs on."""

    def run(self, batch: Step, target: CpuTarget, first: int = 0) -> np.ndarray:
        """The kernel's output for the rows from `first` on; the window changes in place."""
        spec = self.spec
        out = poisoned(batch.tokens + EXTRA, padded(spec.columns))
        fields = [batch.field(name) for name in FIELDS]
        operands = self.operands(first, batch.tokens).values()
        library(target).call(spec.symbol, *fields, *operands, out)
        assert np.isnan(out[batch.tokens :]).all()
        assert (out[: batch.tokens, spec.columns :] == 0).all()
        return out[: batch.tokens, : spec.columns]


def close(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to a few float32 roundings of the largest value."""
    return bool(np.abs(actual - expected).max() <= 2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("target", [HOST, PORTABLE], ids=lambda target: target.name)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_equals_reference(spec: Spec, target: CpuTarget) -> None:
    batch = step((1, 9, 2, 40, 1), (0, 0, 5, 70, 3))
    inputs = Inputs(spec, batch.tokens, 7)
    for slot, past in zip(batch.slots, batch.history, strict=True):
        if past == 0:
            inputs.window[slot] = np.nan
    before = inputs.window.copy()
    out, windows = inputs.expected(batch)
    assert close(inputs.run(batch, target), out)
    for slot in range(7):
        wanted = windows[slot] if slot in batch.slots else before[slot]
        assert np.array_equal(inputs.window[slot], wanted.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("pieces", [(1,) * 9, (8, 1), (3, 6), (2, 2, 5)], ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_any_cut_gives_the_same_bits(spec: Spec, pieces: Sequence[int]) -> None:
    inputs = Inputs(spec, 9, 3)
    whole = inputs.run(replace(step((9,)), slots=(0,)), HOST)
    window = inputs.window.copy()
    first, found = 0, []
    for count in pieces:
        found.append(inputs.run(replace(step((count,), (first,)), slots=(0,)), HOST, first))
        first += count
    assert np.array_equal(np.concatenate(found), whole)
    assert np.array_equal(inputs.window[0], window[0])


@pytest.mark.parametrize("history", [0, 5])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_windows_after_drafted_tokens_are_kept_as_of_single_steps(spec: Spec, history: int) -> None:
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    both = step((4, 3), (history, 9), generated=(True, True))
    both = replace(both, slots=(0, 1), checkpoints=(2, -1))
    inputs = Inputs(spec, both.tokens, 7)
    begin = inputs.window.copy()
    together = inputs.run(both, HOST)
    kept = inputs.window.copy()
    inputs.window[...] = begin
    for length in range(4):
        alone = replace(step((1,), (history + length,), generated=(True,)), slots=(0,))
        assert np.array_equal(inputs.run(alone, HOST, length), together[length : length + 1])
        assert np.array_equal(inputs.window[0], kept[2 + length if length < 3 else 0])
    assert np.array_equal(kept[5:], begin[5:])


def test_threads_and_neighbours_change_no_bit() -> None:
    spec = SPECS[1]
    batch = step((30, 1, 700), (3, 9, 0))
    inputs = Inputs(spec, batch.tokens, 5)
    before = inputs.window.copy()
    together = inputs.run(batch, HOST)
    windows = inputs.window.copy()
    for index, slot in enumerate(batch.slots):
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        alone = step(batch.counts[index : index + 1], batch.history[index : index + 1], workers=1)
        inputs.window[...] = before
        found = inputs.run(replace(alone, slots=(slot,)), HOST, rows.start)
        assert np.array_equal(found, together[rows])
        assert np.array_equal(inputs.window[slot], windows[slot])
