"""Random inputs of short convolutions for tests of their kernels, and what the reference gives."""

from typing import Any

import numpy as np

from sala_compile.codegen.kernels.short_convolution import spec as sizes
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.reference import short_convolution
from tests.support.columns import column_starts, side_by_side
from tests.support.steps import EXTRA, Step, aligned, padded


def spec_of(kind: Any, columns: int, taps: int, *, bias: bool, dilation: int = 1) -> Any:
    """A spec of the class `kind` whose x are columns of a wider buffer."""
    views, _ = column_starts({"x": columns})
    return kind(columns, taps, bias, **views, out_element=Element.F32, dilation=dilation)


class ConvolutionInputs:
    """Random inputs of a spec for `tokens` rows, poisoned wherever nobody may read."""

    def __init__(self, spec: sizes.Spec, tokens: int, slots: int, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, columns = spec, spec.columns
        self.x = side_by_side(tokens, {"x": columns}, random)
        shape = (slots, spec.kept, columns)
        self.window = aligned(random.standard_normal(shape).astype(np.float32))
        self.weight = aligned(np.zeros((spec.taps, padded(columns)), np.float32))
        self.weight[:, :columns] = random.standard_normal((spec.taps, columns))
        self.bias = aligned(np.zeros(padded(columns), np.float32))
        self.bias[:columns] = random.standard_normal(columns)

    def operands(self, first: int, tokens: int) -> dict[str, np.ndarray]:
        """What a kernel reads of the rows from `first` on, by name."""
        x = aligned(self.x[first : first + tokens + EXTRA])
        given = {"x": x, "window": self.window, "weight": self.weight}
        return given | ({"bias": self.bias} if self.spec.bias else {})

    def expected(self, batch: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The reference's output and windows."""
        spec, columns = self.spec, self.spec.columns
        x = self.x[: batch.tokens, spec.x_start : spec.x_start + columns].astype(np.float64)
        window = {slot: each.astype(np.float64) for slot, each in enumerate(self.window)}
        out, windows = short_convolution(
            x,
            window,
            batch.reference,
            self.weight[:, :columns].astype(np.float64),
            self.bias[:columns].astype(np.float64) if spec.bias else None,
            dilation=spec.dilation,
        )
        return out, dict(windows)
