"""Element types of PTX, and the number formats that NumPy does not have."""

import numpy as np

TYPES = {
    "b8": np.uint8, "u8": np.uint8, "s8": np.int8,
    "b16": np.uint16, "u16": np.uint16, "s16": np.int16, "f16": np.float16,
    "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "f32": np.float32,
    "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f64": np.float64,
}  # fmt: skip
"""The type of a PTX suffix."""
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
"""Words of so many bytes."""
SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
TF32_MASK = np.uint32(0xFFFFE000)
"""What tensor cores read of a float32: 10 bits of its fraction, the rest is cut off."""


def widened(words: np.ndarray) -> np.ndarray:
    """bfloat16 words as float32."""
    return (words.astype(np.uint32) << 16).view(np.float32)


def narrowed(values: np.ndarray) -> np.ndarray:
    """float32 as bfloat16 words, to the nearest, ties to even; NaN becomes 0x7FFF."""
    words = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (words.astype(np.uint64) + 0x7FFF + ((words >> 16) & 1)) >> 16
    return np.where(np.isnan(values), np.uint16(0x7FFF), rounded.astype(np.uint16))


def operand(raw: np.ndarray, kind: str) -> np.ndarray:
    """What a tensor core reads of words of type `kind` (bf16, f16, tf32), as float32."""
    if kind == "tf32":
        return (raw.view(np.uint32) & TF32_MASK).view(np.float32)
    if kind == "bf16":
        return widened(raw.view(np.uint16))
    assert kind == "f16", kind
    return raw.view(np.float16).astype(np.float32)


def canonical(values: np.ndarray) -> np.ndarray:
    """Results of arithmetic as a GPU gives them: every NaN of float32 is the one without payload.

    NumPy keeps the payload of one operand, and which one differs from thread to thread.
    """
    if values.dtype != np.float32:
        return values
    wrong = np.isnan(values)
    return np.where(wrong, _NAN, values) if wrong.any() else values


_NAN = np.uint32(0x7FFFFFFF).view(np.float32)
