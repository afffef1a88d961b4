"""A weight of integers in groups, as onnxruntime's `MatMulNBits` takes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.quantized.integer_groups import NARROW, WIDE
from sala_compile.sala_ir.checkpoint.safetensors_file import (
    WEIGHT_ELEMENTS,
    WEIGHTS,
    CheckpointTensor,
)
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr, EncodingKind, ZeroKind


@dataclass(frozen=True, slots=True)
class GroupedIntegers(CheckpointTensor):
    """A weight [rows, columns] of integers of 4 or 8 `bits`; what is read are its values, float32.

    `codes` uint8 [rows, groups, bytes], of 4 bits two in a byte, the first in its low half, the
    last group filled up; `scales` [rows, groups]; `zeros` uint8 [rows, bytes], or None where the
    zero is the middle of the bits; `minima` [rows, groups] are added, or None. A value is
    scale * (code - zero) + minimum.
    """

    bits: int
    codes: CheckpointTensor
    scales: CheckpointTensor
    zeros: CheckpointTensor | None = None
    minima: CheckpointTensor | None = None

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self._parts)

    @property
    def encoding(self) -> EncodingAttr:
        """How the integers are stored here: large groups are several equal ones."""
        kind = EncodingKind.INT4 if self.bits == 4 else EncodingKind.INT8
        zeros = ZeroKind.MIDDLE if self.zeros is None else ZeroKind.STORED
        group = next((size for size in (WIDE, NARROW) if self._group % size == 0), self._group)
        return EncodingAttr(kind, group, ZeroKind.MINIMUM if self.minima else zeros)

    def read(self, file: int, start: int, stop: int) -> np.ndarray:
        """Values of rows [start, stop)."""
        codes, zeros, scales, minima = self._groups(file, start, stop)
        steps = codes.astype(np.float32) - zeros[:, :, None].astype(np.float32)
        steps *= scales.astype(np.float32)[:, :, None]
        if minima is not None:
            steps += minima.astype(np.float32)[:, :, None]
        return np.ascontiguousarray(steps.reshape(stop - start, -1)[:, : self.shape[1]])

    def integers(self, file: int, start: int, stop: int) -> Integers:
        """The integers of rows [start, stop) in the groups of the encoding."""
        codes, zeros, scales, minima = self._groups(file, start, stop)
        columns, group = self.shape[1], self.encoding.group.data
        first = np.arange(-(-columns // group)) * group // self._group
        zeros, numbers = zeros[:, first], scales[:, first]
        if minima is not None:
            pair = np.stack((numbers, minima[:, first]), axis=2)
            numbers = pair.reshape(stop - start, -1)
        filled = np.repeat(zeros, group, axis=1)
        filled[:, :columns] = codes.reshape(stop - start, -1)[:, :columns]
        return Integers.of_groups(filled, numbers.astype(np.float16), zeros)

    def has_narrow_scales(self, file: int) -> bool:
        """Whether float16 holds all scales and minima."""
        return all(
            _is_narrow(self._part(part, file, 0, self.shape[0]))
            for part in (self.scales, self.minima)
            if part is not None
        )

    def rows_from(self, name: str, first: int, rows: int) -> GroupedIntegers:
        """The weight `name` of rows [first, first + rows)."""
        zeros, minima = self.zeros, self.minima
        codes = _cut(self.codes, first, rows)
        return GroupedIntegers(
            name,
            self.path,
            self.element,
            (rows, self.shape[1]),
            codes.begin,
            self.bits,
            codes,
            _cut(self.scales, first, rows),
            None if zeros is None else _cut(zeros, first, rows),
            None if minima is None else _cut(minima, first, rows),
        )

    def pieces(self, descriptor: Callable[[Path], int]) -> Iterator[bytes]:
        """The bytes of all parts."""
        for part in self._parts:
            yield from part.pieces(descriptor)

    @property
    def _parts(self) -> tuple[CheckpointTensor, ...]:
        parts = (self.codes, self.scales, self.zeros, self.minima)
        return tuple(part for part in parts if part is not None)

    @property
    def _group(self) -> int:
        return self.codes.shape[2] * 8 // self.bits

    def _groups(
        self, file: int, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Codes [rows, groups, group], zeros, scales and minima [rows, groups]."""
        codes = self._unpacked(self._part(self.codes, file, start, stop))
        scales = self._part(self.scales, file, start, stop)
        zeros = np.full(scales.shape, 1 << (self.bits - 1), np.uint8)
        if self.zeros is not None:
            stored = self._unpacked(self._part(self.zeros, file, start, stop))
            zeros = stored[:, : scales.shape[1]]
        minima = None if self.minima is None else self._part(self.minima, file, start, stop)
        return codes, zeros, scales, minima

    def _part(self, part: CheckpointTensor, file: int, start: int, stop: int) -> np.ndarray:
        """Rows of a part; `file` is the one of the codes."""
        if part.path == self.path:
            return part.read(file, start, stop)
        with WEIGHTS.open(part.path) as other:
            return part.read(other.fileno(), start, stop)

    def _unpacked(self, stored: np.ndarray) -> np.ndarray:
        if self.bits == 8:
            return stored
        halves = np.stack((stored & 15, stored >> 4), axis=-1)
        return halves.reshape(*stored.shape[:-1], -1)


def grouped_integers(
    name: str,
    shape: tuple[int, int],
    bits: int,
    group: int,
    codes: CheckpointTensor,
    scales: CheckpointTensor,
    zeros: CheckpointTensor | None = None,
    minima: CheckpointTensor | None = None,
) -> GroupedIntegers:
    """The weight of these parts; CheckpointError for one of another shape or type.

    Scales and zeros may be stored without the axis of rows.
    """
    rows, columns = shape
    groups = -(-columns // group)
    numbers, packed = (rows, groups), (rows, -(-groups * bits // 8))
    codes = _shaped(codes, (rows, groups, group * bits // 8), ("U8",))
    return GroupedIntegers(
        name,
        codes.path,
        "F32",
        shape,
        codes.begin,
        bits,
        codes,
        _shaped(scales, numbers, WEIGHT_ELEMENTS),
        None if zeros is None else _shaped(zeros, packed, ("U8",)),
        None if minima is None else _shaped(minima, numbers, WEIGHT_ELEMENTS),
    )


def _cut(part: CheckpointTensor, first: int, rows: int) -> CheckpointTensor:
    begin, shape = part.begin + first * part.row_bytes, (rows, *part.shape[1:])
    return replace(part, begin=begin, shape=shape)


def _shaped(
    part: CheckpointTensor, shape: tuple[int, ...], elements: tuple[str, ...]
) -> CheckpointTensor:
    if part.shape not in (shape, (math.prod(shape),)) or part.element not in elements:
        raise part.error(
            f"the tensor is {part.element} {list(part.shape)}",
            expected=f"{' or '.join(elements)} {list(shape)}",
        )
    return replace(part, shape=shape)


def _is_narrow(found: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        narrow = found.astype(np.float16)
    return bool((np.isfinite(narrow) & (narrow.astype(found.dtype) == found)).all())
