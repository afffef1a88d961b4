"""How far stored integers are from the weights that they were made of."""

from dataclasses import dataclass, field

import numpy as np

from sala_compile.sala_ir.checkpoint.integers import Integers


@dataclass(slots=True)
class _Sums:
    weight: float = 0.0
    weight_lost: float = 0.0
    output: float = 0.0
    output_lost: float = 0.0


@dataclass(slots=True)
class ErrorSums:
    """Squares of every tensor and of what rounding took from them, in float64."""

    _sums: dict[str, _Sums] = field(default_factory=dict[str, _Sums])

    def measure(self, name: str, rows: np.ndarray, integers: Integers) -> None:
        """Add some rows and their integers."""
        lost = rows.astype(np.float32) - integers.values(rows.shape[1])
        self.add_weight(name, rows.astype(np.float32), lost)

    def add_weight(self, name: str, rows: np.ndarray, lost: np.ndarray) -> None:
        """Add float32 rows and what was lost of them."""
        sums = self._sums.setdefault(name, _Sums())
        sums.weight += _squares(rows)
        sums.weight_lost += _squares(lost)

    def add_output(self, name: str, outputs: np.ndarray, lost: np.ndarray) -> None:
        """Add outputs of the linear and what was lost of them."""
        sums = self._sums.setdefault(name, _Sums())
        sums.output += _squares(outputs)
        sums.output_lost += _squares(lost)

    def weight_error(self, name: str) -> float | None:
        """Root of the lost part of the squares; None for a tensor that was not measured."""
        sums = self._sums.get(name)
        return None if sums is None else _root(sums.weight_lost, sums.weight)

    @property
    def total_error(self) -> float | None:
        """The same of all weights together; None if none was measured."""
        sums = self._sums.values()
        whole = sum(each.weight for each in sums)
        return _root(sum(each.weight_lost for each in sums), whole) if sums else None

    def output_error(self, name: str) -> float | None:
        """The same of the linear's outputs; None if no inputs were known."""
        sums = self._sums.get(name, _Sums())
        return _root(sums.output_lost, sums.output) if sums.output else None


def _squares(values: np.ndarray) -> float:
    """The sum of float32 values' squares, also where float32 does not hold one of them."""
    with np.errstate(over="ignore"):
        total = float(np.sum(np.square(values), dtype=np.float64))
    if np.isfinite(total):
        return total
    largest = np.abs(values).max()
    return float(np.sum(np.square(values / largest), dtype=np.float64)) * float(largest) ** 2


def _root(lost: float, whole: float) -> float:
    return float(np.sqrt(lost / whole)) if whole else 0.0
