"""The products that `benchmarks.kernels.linear` measures, and their buffers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Case:
    """x [rows, depth] times a weight [columns, depth], one of `copies` in turn.

    `kind` is how the weight is stored: bf16, f32, or integers of `bits` with a scale for each
    `group`, which meet an x of bf16, with minima or not, the scales factors of super-blocks or not.
    `x_bits` are those of the integers that x then becomes.
    """

    rows: int
    depth: int
    columns: int
    kind: str
    copies: int = 1
    bits: int = 0
    group: int = 128
    x_bits: int = 16
    minima: bool = False
    super_block: int = 0

    @property
    def encoding(self) -> str:
        """How the weight is stored, as the tables name it."""
        if not self.bits:
            return self.kind
        name = f"int{self.bits}-g{self.group}" + "-minima" * self.minima
        return name + (f"-super{self.super_block}" if self.super_block else "")

    @property
    def name(self) -> str:
        """How the table names it."""
        rounded = " int8" * (self.x_bits == 8)
        return f"{self.encoding}{rounded} {self.rows} x {self.depth} x {self.columns}"

    @property
    def bytes(self) -> float:
        """Bytes of the weight."""
        value: float = {"bf16": 2, "f32": 4}[self.kind]
        if self.bits:
            entries = 2 if self.minima else 1
            value = self.bits / 8 + 2 * entries / (self.super_block or self.group)
            value += entries / self.group if self.super_block else 0
        return self.depth * self.columns * value

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.depth * self.columns


def _integers(rows: int, depth: int, columns: int, **stored: int) -> Case:
    copies = 1 if rows > 16 else 4
    return Case(rows, depth, columns, "bf16", copies=copies, **({"bits": 4} | stored))


CASES = (
    Case(1, 4096, 16384, "bf16", copies=3),
    Case(1, 16384, 4096, "bf16", copies=3),
    Case(8, 4096, 16384, "bf16", copies=3),
    Case(16, 4096, 16384, "bf16", copies=3),
    Case(64, 4096, 4096, "bf16", copies=4),
    Case(512, 4096, 4096, "bf16"),
    Case(512, 4096, 16384, "bf16"),
    Case(512, 16384, 1024, "bf16"),
    Case(1, 4096, 16384, "f32", copies=2),
    Case(512, 4096, 2048, "f32"),
    _integers(1, 4096, 16384),
    _integers(1, 4096, 16384, group=32),
    _integers(1, 16384, 4096),
    _integers(1, 4096, 16384, bits=8),
    _integers(4, 4096, 16384),
    _integers(8, 4096, 16384),
    _integers(512, 4096, 16384),
    _integers(512, 4096, 4096),
    _integers(512, 4096, 4096, group=32),
    _integers(512, 4096, 4096, bits=8),
    *(_integers(rows, 4096, 16384, x_bits=8) for rows in (1, 4, 8, 512)),
    *(_integers(rows, 4096, 4096, x_bits=8) for rows in (1, 4, 8, 512)),
    _integers(512, 4096, 4096, group=32, x_bits=8),
    *(_integers(rows, 4096, 4096, bits=8, x_bits=8) for rows in (1, 8, 512)),
)


def cases_with(text: str) -> tuple[Case, ...]:
    """The cases whose names have `text` in them."""
    return tuple(case for case in CASES if text in case.name)


def aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A buffer of small values that starts at a page."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 4096, np.uint8)
    start = -memory.ctypes.data % 4096
    buffer = memory[start : start + size].view(dtype).reshape(shape)
    buffer[...] = 0x3C00 if dtype == "uint16" else 0.0078125
    return buffer


def in_turn(works: list[Work]) -> Work:
    """A work that does the next of `works` each time."""
    turn = iter(range(1 << 60))
    return lambda: works[next(turn) % len(works)]()


def together(works: Sequence[Work]) -> Work:
    """A work that does all of `works`, one behind the other."""

    def work() -> None:
        for each in works:
            each()

    return work
