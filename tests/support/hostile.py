"""Numbers that are none, and others at the edges of their types, as the bits that memory holds."""

import numpy as np

from sala_compile.codegen.kernels.tir.element import Element

FLOAT32 = {
    "all bits": 0xFFFFFFFF,
    "all but the sign": 0x7FFFFFFF,
    "quiet": 0x7FC00000,
    "negative quiet": 0xFFC00000,
    "signalling": 0x7F800001,
    "negative signalling": 0xFF800001,
    "infinity": 0x7F800000,
    "negative infinity": 0xFF800000,
    "negative zero": 0x80000000,
    "denormal": 0x00000001,
    "negative denormal": 0x807FFFFF,
    "largest": 0x7F7FFFFF,
    "lowest": 0xFF7FFFFF,
}
BFLOAT16 = {name: bits >> 16 for name, bits in FLOAT32.items()} | {
    "signalling": 0x7F81,
    "negative signalling": 0xFF81,
    "denormal": 0x0001,
}
NAMES = tuple(FLOAT32)


def bits_of(name: str, element: Element) -> np.ndarray:
    """A number of the type in which memory holds `element`."""
    if element is Element.BF16:
        return np.array(BFLOAT16[name], np.uint16)
    return np.array(FLOAT32[name], np.uint32).view(np.float32)


def fill(values: np.ndarray, name: str, element: Element, share: float, seed: int = 0) -> None:
    """Overwrite a random share of an array, all of it for 1."""
    chosen = np.random.default_rng(seed).random(values.shape) < share
    values.view(np.uint8 if values.dtype == np.uint8 else f"u{values.itemsize}")[chosen] = bits_of(
        name, element
    ).view(f"u{values.itemsize}")
