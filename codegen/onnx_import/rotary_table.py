"""The rotary frequencies that a foreign graph states, as such or as tables of their cosines."""

from dataclasses import dataclass

import numpy as np

from sala_compile.sala_ir.frontends.kit.rotary import inverse_frequencies

TABLE_ERRORS = {"F32": 3e-5, "F16": 6e-4, "BF16": 5e-3}
"""Largest difference of a stored cosine from that of its angle, by element type."""
ANGLE_ERROR = 2e-7
"""Relative error of an angle that was rounded to float32, and of frequencies that are the same."""
NEIGHBOURS = 8
"""float32 numbers on either side of an estimated frequency that may be the one of the table."""
DIGITS = 8
"""Digits of a base, at most."""


@dataclass(frozen=True, slots=True)
class FoundRotary:
    """Frequencies of the pairs of a head, float32, and what multiplies cosines and sines.

    `error` is that of the frequencies, relative: tables of narrow types state them less exactly.
    """

    frequencies: tuple[float, ...]
    factor: float
    error: float = ANGLE_ERROR

    @property
    def is_exact(self) -> bool:
        """Whether the frequencies are the float32 numbers that the table was made of."""
        return self.error <= ANGLE_ERROR

    @property
    def theta(self) -> float | None:
        """The base whose powers the frequencies are, of as few digits as it can be; or None."""
        found, half = np.asarray(self.frequencies), len(self.frequencies)
        if half == 1:
            return 10000.0 if found[0] == 1 else None
        estimate = float(found[-1]) ** (-half / (half - 1))
        for digits in range(DIGITS):
            theta = float(f"{estimate:.{digits}e}")
            wanted = inverse_frequencies(theta, 2 * half).astype(np.float64)
            if (np.abs(found - wanted) <= self.error * wanted).all():
                return theta
        return None


def rotary_of_tables(cosines: np.ndarray, sines: np.ndarray, element: str) -> FoundRotary | None:
    """The rotation of tables [positions, pairs] of an element type, or None if they are of none."""
    cosines, sines = cosines.astype(np.float64), sines.astype(np.float64)
    factor, error = float(cosines[0, 0]), TABLE_ERRORS[element]
    if len(cosines) < 2 or cosines.shape != sines.shape or not 0 < factor < np.inf:
        return None
    frequencies = _estimated(cosines, sines)
    if not (frequencies > 0).all():
        return None
    if element == "F32":
        frequencies = _nearest(cosines / factor, sines / factor, frequencies)
        found = FoundRotary(tuple(frequencies.tolist()), factor)
    else:
        found = FoundRotary(tuple(frequencies.tolist()), factor, 2 * error)
        if found.theta is None:
            return found
        frequencies = inverse_frequencies(found.theta, 2 * len(frequencies)).astype(np.float64)
    angles = np.arange(len(cosines))[:, None] * frequencies
    largest = error * max(factor, 1.0) + ANGLE_ERROR * factor * angles
    for table, wanted in ((cosines, np.cos(angles)), (sines, np.sin(angles))):
        if not (np.abs(table - factor * wanted) <= largest).all():
            return None
    return found


def _estimated(cosines: np.ndarray, sines: np.ndarray) -> np.ndarray:
    """Angles over positions: each position, twice the one before, makes them more exact."""
    position, found = 1, np.arctan2(sines[1], cosines[1])
    while 2 * position < len(cosines):
        position *= 2
        beyond = np.arctan2(sines[position], cosines[position]) - position * found
        found = found + ((beyond + np.pi) % (2 * np.pi) - np.pi) / position
    return found


def _nearest(cosines: np.ndarray, sines: np.ndarray, estimated: np.ndarray) -> np.ndarray:
    """The float32 frequencies whose angles, rounded to float32, come closest to the tables."""
    steps = np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    middle = estimated.astype(np.float32)
    candidates = (middle + steps[:, None] * np.spacing(middle)).astype(np.float32)
    positions = np.arange(len(cosines), dtype=np.float32)[:, None]
    errors = np.empty(candidates.shape)
    for index, candidate in enumerate(candidates):
        angles = (positions * candidate).astype(np.float64)
        errors[index] = np.square(np.cos(angles) - cosines).sum(axis=0)
        errors[index] += np.square(np.sin(angles) - sines).sum(axis=0)
    best = errors.argmin(axis=0)
    return candidates[best, np.arange(len(best))].astype(np.float64)
