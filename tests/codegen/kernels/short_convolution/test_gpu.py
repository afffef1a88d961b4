"""Short convolutions' GPU kernels, interpreted, against the float64 reference."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.short_convolution.gpu import FAMILY, Schedule, Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.phase import TokenForm
from sala_compile.codegen.targets.cuda import CudaTarget
from tests.support.convolution import ConvolutionInputs, spec_of
from tests.support.interpreted import run
from tests.support.rows import exact
from tests.support.steps import EXTRA, Step, padded, poisoned, step

TARGET = CudaTarget(90)
TILES, STEP = TokenForm.CHUNKS, TokenForm.STEP
SCHEDULE = Schedule(4, 32)
SPECS: tuple[Spec, ...] = (
    spec_of(Spec, 48, 4, bias=False),
    spec_of(Spec, 100, 4, bias=True),
    replace(spec_of(Spec, 7, 2, bias=True), out_element=Element.BF16),
    spec_of(Spec, 33, 5, bias=False),
    spec_of(Spec, 21, 3, bias=True, dilation=2),
)

every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)


class Inputs(ConvolutionInputs):
    """Inputs that the kernel runs on."""

    def run(
        self,
        batch: Step,
        form: TokenForm,
        first: int = 0,
        schedule: Schedule = SCHEDULE,
        **options: Any,
    ) -> np.ndarray:
        """The kernel's output for the rows from `first` on; the window changes in place."""
        spec = replace(self.spec, form=form)
        kernel = FAMILY.build(spec, TARGET, schedule)
        bucket = {"tokens": batch.tokens + EXTRA, "sequences": len(batch.counts) + 2}
        out = poisoned(batch.tokens + EXTRA, padded(spec.columns), dtype=spec.out_element.dtype)
        before = out.copy()
        buffers = self.operands(first, batch.tokens) | {"out": out}
        buffers |= batch.fields(FAMILY.arguments(spec, schedule))
        run(kernel, buffers, bucket, **options)
        rest = slice(batch.tokens, None)
        assert np.array_equal(out[rest].view(np.uint8), before[rest].view(np.uint8))
        assert (out[: batch.tokens, spec.columns :] == 0).all()
        return out[: batch.tokens, : spec.columns]

    def in_pieces(self, pieces: Sequence[int], form: TokenForm, history: int = 0) -> np.ndarray:
        """The outputs of a sequence in slot 0, so many tokens in each step."""
        first, found = 0, []
        for count in pieces:
            now = replace(step((count,), (history + first,)), slots=(0,))
            found.append(self.run(now, form, first))
            first += count
        return np.concatenate(found)


def check(spec: Spec, batch: Step, form: TokenForm, **options: Any) -> None:
    """Outputs are the reference's, windows its bits; those of other slots stay as they are."""
    slots = len(batch.counts) + 2
    inputs = Inputs(spec, batch.tokens, slots)
    for slot, past in zip(batch.slots, batch.history, strict=True):
        if past == 0:
            inputs.window[slot] = np.nan
    before = inputs.window.copy()
    out, windows = inputs.expected(batch)
    found = inputs.run(batch, form, **options)
    bound = 5e-3 if found.dtype == np.uint16 else 2e-6
    assert np.abs(exact(found) - out).max() <= bound * np.abs(out).max()
    for slot in range(slots):
        wanted = windows[slot] if slot in batch.slots else before[slot]
        assert np.array_equal(inputs.window[slot], wanted.astype(np.float32), equal_nan=True)


@every_spec
def test_tiles_equal_the_reference(spec: Spec) -> None:
    """More and fewer tokens than a window has, none too, on both sides of a tile."""
    batch = step((1, 9, 0, 2, 13, 1), (0, 0, 7, 5, 70, 3))
    check(spec, batch, TILES, backwards=spec.bias)


@every_spec
def test_steps_equal_the_reference(spec: Spec) -> None:
    check(spec, step((1, 1, 6, 0, 3), (0, 9, 0, 7, 70)), STEP, backwards=spec.bias)


def test_the_tiles_of_the_product_equal_the_reference() -> None:
    for form in (TILES, STEP):
        check(spec_of(Spec, 300, 4, bias=True), step((35, 2), (0, 9)), form, schedule=Schedule())


@every_spec
def test_any_cut_and_any_form_gives_the_same_bits(spec: Spec) -> None:
    for history in (0, 5):
        inputs = Inputs(spec, 9, 3)
        begin = inputs.window.copy()
        whole = inputs.in_pieces((9,), TILES, history)
        window = inputs.window.copy()
        for form in (TILES, STEP):
            for pieces in ((1,) * 9, (8, 1), (3, 6), (2, 2, 5), (9,)):
                inputs.window[...] = begin
                assert np.array_equal(inputs.in_pieces(pieces, form, history), whole)
                assert np.array_equal(inputs.window[0], window[0])


@pytest.mark.parametrize("history", [0, 5])
@every_spec
def test_windows_after_drafted_tokens_are_kept_as_of_single_steps(spec: Spec, history: int) -> None:
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    both = replace(step((4, 3), (history, 9)), slots=(0, 1), checkpoints=(2, -1))
    inputs = Inputs(spec, both.tokens, 7)
    begin = inputs.window.copy()
    together = inputs.run(both, STEP)
    kept = inputs.window.copy()
    inputs.window[...] = begin
    for length in range(4):
        alone = replace(step((1,), (history + length,)), slots=(0,))
        assert np.array_equal(inputs.run(alone, STEP, length), together[length : length + 1])
        assert np.array_equal(inputs.window[0], kept[2 + length if length < 3 else 0])
    assert np.array_equal(kept[5:], begin[5:])


@pytest.mark.parametrize("form", [TILES, STEP])
def test_neighbours_change_no_bit(form: TokenForm) -> None:
    batch = step((9, 1, 20), (3, 9, 0))
    inputs = Inputs(SPECS[1], batch.tokens, 5)
    before = inputs.window.copy()
    together = inputs.run(batch, form)
    windows = inputs.window.copy()
    for index, slot in enumerate(batch.slots):
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        alone = step(batch.counts[index : index + 1], batch.history[index : index + 1])
        inputs.window[...] = before
        found = inputs.run(replace(alone, slots=(slot,)), form, rows.start)
        assert np.array_equal(found, together[rows])
        assert np.array_equal(inputs.window[slot], windows[slot])


def test_nothing_to_do_touches_nothing() -> None:
    inputs = Inputs(SPECS[0], 1, 3)
    before = inputs.window.copy()
    none = replace(step((1,), (2,)), counts=(), history=(), slots=(), call_lengths=())
    for form in (TILES, STEP):
        inputs.run(none, form)
    assert np.array_equal(inputs.window, before)
