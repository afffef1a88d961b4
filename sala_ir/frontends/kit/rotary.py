"""The frequencies of rotary embeddings, and what multiplies their cosines and sines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sala_compile.sala_ir.frontends.kit.fields import LARGEST, SMALLEST, Refuse
from sala_compile.sala_ir.frontends.kit.rope_config import Rope


@dataclass(frozen=True, slots=True)
class Rotary:
    """Parameters of `sala.rope_table`: inverse frequencies, and what multiplies the table.

    There are R/2 frequencies for each range of call lengths that begins at one of `starts`. With a
    `log_offset` the factor is multiplied by ln(position + log_offset). Positions are those of the
    tokens plus `position_offset`.
    """

    frequencies: tuple[float, ...]
    factor: float = 1.0
    starts: tuple[int, ...] = (0,)
    log_offset: float = 0.0
    position_offset: int = 0


def rotary(rope: Rope, theta: float, dimensions: int) -> Rotary:
    """The frequencies of R = `dimensions` rotated dimensions of a head, as transformers has them.

    Every step is rounded to float32.
    """
    inverse = inverse_frequencies(theta, dimensions)
    factor = np.float32(rope.factor)
    match rope.rope_type:
        case "linear":
            inverse = inverse / factor
        case "llama3":
            inverse = _llama3(rope, inverse)
        case "yarn":
            inverse = _yarn(rope, theta, inverse)
            return Rotary(tuple(inverse.tolist()), _yarn_factor(rope))
        case "longrope":
            return _long_rope(rope, theta, dimensions)
        case "frequencies":
            given = np.asarray(rope.inverse_frequencies, np.float32)
            return Rotary(tuple(given.tolist()), rope.attention_factor or 1.0)
        case _:
            pass
    return Rotary(tuple(inverse.tolist()))


def check_rope(rope: Rope, theta: float, dimensions: int, refuse: Refuse) -> None:
    """Raise `ConfigError` where an angle of some position would not be a float32."""
    field = "rope_theta" if rope == Rope() else "rope_scaling"
    if rope.rope_type == "yarn" and theta <= 1:
        raise refuse("rope_theta", theta, "above 1, with a yarn scaling", "correct the field")
    if rope.rope_type == "longrope":
        _check_long_rope(rope, dimensions // 2, refuse)
    if rope.rope_type == "frequencies" and len(rope.inverse_frequencies) != dimensions // 2:
        field, found = "rope_scaling.inverse_frequencies", len(rope.inverse_frequencies)
        raise refuse(field, found, f"{dimensions // 2} frequencies", "correct the list")
    with np.errstate(all="ignore"):
        frequencies = np.asarray(rotary(rope, theta, dimensions).frequencies)
    if not ((frequencies >= SMALLEST) & (frequencies < LARGEST / 2**31)).all():
        found = theta if rope == Rope() else rope.rope_type
        raise refuse(field, found, "frequencies that float32 holds", "correct the field")


def _check_long_rope(rope: Rope, half: int, refuse: Refuse) -> None:
    """A factor for each frequency; an original length whose logarithm divides."""
    for name, factors in (("short_factor", rope.short_factor), ("long_factor", rope.long_factor)):
        if len(factors) != half:
            expected = f"one factor for each of the {half} frequencies"
            found = f"a list of {len(factors)}"
            raise refuse(f"rope_scaling.{name}", found, expected, "correct the list")
    if rope.original_max_position_embeddings < 2:
        field = "rope_scaling.original_max_position_embeddings"
        found, fix = rope.original_max_position_embeddings, "correct the field"
        raise refuse(field, found, "2 or more", fix)


def inverse_frequencies(theta: float, dimensions: int) -> NDArray[np.float32]:
    """Return theta^(-2i/R) for i < R/2, R the rotated dimensions of a head.

    Each of the three steps is rounded to float32, as torch computes them.
    """
    return (np.float32(1.0) / _powers(theta, dimensions)).astype(np.float32)


def _llama3(rope: Rope, inverse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Long wavelengths are divided by the factor, short ones kept, those between interpolated."""
    factor, original = np.float32(rope.factor), np.float32(rope.original_max_position_embeddings)
    low, high = np.float32(rope.low_freq_factor), np.float32(rope.high_freq_factor)
    wavelength = np.float32(2 * math.pi) / inverse
    kept = (original / wavelength - low) / (high - low)
    between = (np.float32(1.0) - kept) * inverse / factor + kept * inverse
    scaled = np.where(wavelength > original / low, inverse / factor, between)
    return np.where(wavelength < original / high, inverse, scaled)


def _yarn(rope: Rope, theta: float, inverse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dimensions of few turns within the original length are divided by the factor."""
    dimensions = 2 * len(inverse)

    def dimension_of(turns: float) -> float:
        length = rope.original_max_position_embeddings
        return dimensions * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = dimension_of(rope.beta_fast), dimension_of(rope.beta_slow)
    if rope.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dimensions - 1)
    last = last + 0.001 if first == last else last
    index = np.arange(len(inverse), dtype=np.float32)
    ramp = ((index - np.float32(first)) / np.float32(last - first)).clip(0, 1)
    kept = np.float32(1.0) - ramp
    scaled = (inverse / np.float32(rope.factor)) * (np.float32(1.0) - kept) + inverse * kept
    return scaled.astype(np.float32)


def _long_rope(rope: Rope, theta: float, dimensions: int) -> Rotary:
    """Short factors for calls of up to the original length, long ones for the longer."""
    original = rope.original_max_position_embeddings
    powers = _powers(theta, dimensions)
    is_one = rope.short_factor == rope.long_factor
    lists = [rope.short_factor] if is_one else [rope.short_factor, rope.long_factor]
    inverse = np.float32(1.0) / (np.asarray(lists, np.float32) * powers)
    scale = 1.0 if rope.factor <= 1 else math.sqrt(1 + math.log(rope.factor) / math.log(original))
    return Rotary(
        tuple(inverse.ravel().tolist()),
        scale if rope.attention_factor is None else rope.attention_factor,
        (0,) if is_one else (0, original + 1),
    )


def _powers(theta: float, dimensions: int) -> NDArray[np.float32]:
    """theta^(2i/R) for i < R/2; exponent and power are rounded to float32."""
    exponents = np.arange(0, dimensions, 2, dtype=np.float32) / np.float32(dimensions)
    return np.power(np.float64(np.float32(theta)), exponents.astype(np.float64)).astype(np.float32)


def _yarn_factor(rope: Rope) -> float:
    """What multiplies cosines and sines."""

    def magnitude(scale: float) -> float:
        return 1.0 if rope.factor <= 1 else 0.1 * scale * math.log(rope.factor) + 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return magnitude(rope.mscale) / magnitude(rope.mscale_all_dim)
    return magnitude(1.0)
