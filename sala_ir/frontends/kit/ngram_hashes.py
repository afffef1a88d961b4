"""What the n-gram embeddings of Qwen4-Exp hash with, from a seed, as transformers makes it."""

from __future__ import annotations

from functools import cache
from math import isqrt

import numpy as np

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_LAYER_STEP = 10007
_FIRST_SPAN = 1024


def multipliers(seed: int, layer: int, order: int, vocabulary: int) -> tuple[int, ...]:
    """Odd factors of the ids of an n-gram, for the `layer`-th embedding of the model.

    Their products with ids below `vocabulary` fit 63 bits.
    """
    most = max(1, ((1 << 63) - 1) // vocabulary // 2)
    base = seed + _LAYER_STEP * layer
    drawn = (_splitmix((base + _GAMMA * (index + 1)) & _MASK) for index in range(order))
    return tuple(2 * (value % most) + 1 for value in drawn)


def _splitmix(value: int) -> int:
    """SplitMix64: Steele, Lea and Flood, OOPSLA 2014."""
    value = (value + _GAMMA) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@cache
def primes_from(start: int, count: int) -> tuple[int, ...]:
    """The first `count` primes that are not below `start`."""
    span = _FIRST_SPAN
    while True:
        found = _primes_between(max(2, start), max(2, start) + span)
        if len(found) >= count:
            return tuple(found[:count].tolist())
        span *= 4


def _primes_between(start: int, stop: int) -> np.ndarray:
    """The primes of a range, by a sieve of the small ones."""
    is_prime, root = np.ones(stop - start, bool), isqrt(stop)
    small = np.ones(root + 1, bool)
    for divisor in range(2, root + 1):
        if small[divisor]:
            small[divisor * divisor :: divisor] = False
            first = max(divisor * divisor, -(-start // divisor) * divisor)
            is_prime[first - start :: divisor] = False
    return np.flatnonzero(is_prime) + start
