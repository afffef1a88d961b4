"""Values found and expected: how far they are apart, and whether that is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sala_compile.runtime.artifact import Expected, MappedTensors, widen_bfloat16
from sala_compile.runtime.common.json_text import shortened
from sala_compile.runtime.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Comparison:
    """The largest difference, the largest excess over the allowed one, and what made them so."""

    difference: float
    excess: float
    problem: str | None = None


def compare(
    found: np.ndarray, expected: np.ndarray, *, absolute: float, relative: float = 0.0
) -> Comparison:
    """Compare `found` with `expected`; bfloat16 comes as uint16.

    A value that is not finite, found or expected, fails; so does an empty comparison.
    """
    wanted, actual = _numbers(expected), _numbers(found)
    if not wanted.size:
        return Comparison(np.inf, np.inf, "no value is compared")
    for values, what in ((wanted, "expected"), (actual, "computed")):
        wrong = np.count_nonzero(~np.isfinite(values))
        if wrong:
            problem = f"{wrong} of {values.size} {what} values are NaN or infinite"
            return Comparison(np.inf, np.inf, problem)
    difference = np.abs(actual - wanted)
    excess = difference - (absolute + relative * np.abs(wanted))
    return Comparison(float(difference.max()), float(excess.max()))


def worst(parts: Sequence[Comparison]) -> Comparison:
    """The worst of several comparisons; none at all fail."""
    if not parts:
        return Comparison(np.inf, np.inf, "no value is compared")
    return Comparison(
        max(part.difference for part in parts),
        max(part.excess for part in parts),
        next((part.problem for part in parts if part.problem), None),
    )


@dataclass(frozen=True, slots=True)
class GoldenTensors:
    """The tensors of `golden.safetensors`, checked against what they are for."""

    stored: MappedTensors

    def array(
        self, name: str, dtype: np.dtype, capacity: tuple[int, ...], where: str
    ) -> np.ndarray:
        """A tensor that fits into the leading part of a value; ArtifactError for another one."""
        found = self.stored.array(name)
        fits = found.ndim == len(capacity) and all(
            have <= room for have, room in zip(found.shape, capacity, strict=True)
        )
        if found.dtype != dtype or not fits:
            raise malformed(
                f"{name} is {found.dtype}{list(found.shape)}",
                f"{dtype}, at most {list(capacity)}",
                f"golden.json: {where}",
            )
        return found

    def compare(self, expected: Expected, found: np.ndarray, where: str) -> Comparison:
        """Compare the leading part of `found` with an expected tensor."""
        wanted = self.array(expected.tensor, found.dtype, found.shape, where)
        part = found[tuple(slice(extent) for extent in wanted.shape)]
        return compare(part, wanted, absolute=expected.absolute, relative=expected.relative)


def malformed(found: str, expected: str | None = None, where: str = "golden.json") -> ArtifactError:
    """The error for golden vectors that cannot be run."""
    return ArtifactError(
        shortened(found),
        where=shortened(where),
        expected=expected,
        fix="copy the whole artifact again, or compile again",
    )


def _numbers(values: np.ndarray) -> np.ndarray:
    wide = widen_bfloat16(values) if values.dtype == np.uint16 else values
    return np.asarray(wide, np.float64)
