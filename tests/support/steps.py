"""Steps for kernel tests: aligned poisoned buffers, ragged batches, shuffled page tables."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from tvm_ffi import from_dlpack, load_module

from sala_compile.codegen.kernels.arguments import Arguments, Role, present
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_library
from sala_compile.runtime.artifact.batch_fields import PlainChunk, batch_arrays
from sala_compile.runtime.artifact.processor import permit_tiles
from sala_compile.sala_ir.reference import Batch, make_batch
from tests.support.shared_objects import share_objects

EXTRA = 3
"""Rows beyond the live ones that every buffer of a step has."""


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts at a multiple of 64 bytes."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def poisoned(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """An aligned buffer of NaNs (all bits set in integer types: NaN as bf16, -1 as int32)."""
    kind = np.dtype(dtype)
    fill = np.full(shape, np.nan, kind) if kind.kind == "f" else np.full(shape, ~kind.type(0), kind)
    return aligned(fill)


def padded(count: int) -> int:
    """`count` rounded up to 16."""
    return -(-count // 16) * 16


def to_bits(values: np.ndarray) -> np.ndarray:
    """float -> the bits of the nearest bf16."""
    return values.astype(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """The bits of bf16 -> float64."""
    return bits.view(ml_dtypes.bfloat16).astype(np.float64)


class Library:
    """Kernels of several specs, compiled and loaded as those of a model are."""

    def __init__(self, functions: Sequence[Any], target: CpuTarget):
        share_objects()
        named = {str(f.attrs["global_symbol"]): f for f in functions}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "kernels.so")
            compile_library(named, target, path)
            self._module = load_module(path)
        if target.has_amx_bf16:
            permit_tiles()

    def call(self, symbol: str, *arrays: np.ndarray) -> None:
        """Run a kernel over NumPy arrays, in place."""
        self._module[symbol](*[from_dlpack(array) for array in arrays])


@dataclass(frozen=True, slots=True)
class Step:
    """A ragged batch as the kernels get it; `tables` are the page tables of all slots."""

    counts: tuple[int, ...]
    history: tuple[int, ...]
    slots: tuple[int, ...]
    call_lengths: tuple[int, ...]
    pages: np.ndarray
    compressed_pages: np.ndarray
    workers: int = 2
    generated: tuple[bool, ...] = ()
    checkpoints: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """New tokens of all sequences."""
        return sum(self.counts)

    @property
    def offsets(self) -> list[int]:
        """Row of the first token of every sequence, and the end."""
        return [0, *np.cumsum(self.counts).tolist()]

    @property
    def reference(self) -> Batch:
        """The batch of the reference."""
        return make_batch(self.offsets, self.history, self.call_lengths, self.slots)

    def fields(self, arguments: Arguments) -> dict[str, np.ndarray]:
        """What a kernel with these arguments reads of the batch, by name."""
        roles = (Role.CONTROL, Role.BATCH)
        return {a.name: self.field(a.name) for a in present(arguments) if a.role in roles}

    def field(self, name: str) -> np.ndarray:
        """The buffer `control` or `batch:<name>`, with poison behind the live entries."""
        return aligned(self._fields()[name.removeprefix("batch:")])

    def _fields(self) -> Mapping[str, np.ndarray]:
        control = [self.tokens, len(self.counts), 0, self.workers, *[0] * 12]
        generated = self.generated or [False] * len(self.counts)
        checkpoints = self.checkpoints or [-1] * len(self.counts)
        lists = zip(
            *(self.counts, self.history, self.call_lengths, self.slots, generated, checkpoints),
            strict=True,
        )
        chunks = [PlainChunk(np.zeros(count, np.int32), *rest) for count, *rest in lists]
        fields = {name.value: _with_poison(array) for name, array in batch_arrays(chunks).items()}
        return fields | {
            "control": np.array(control, np.int32),
            "page_table": self.pages,
            "compressed_table": self.compressed_pages,
        }


def step(
    counts: Sequence[int],
    history: Sequence[int] | None = None,
    *,
    seed: int = 0,
    block_size: int = 64,
    context: int = 1024,
    call_lengths: Sequence[int] | None = None,
    workers: int = 2,
    generated: Sequence[bool] = (),
) -> Step:
    """A step over shuffled slots and pages; without history, and tokens read, unless given."""
    history = history or [0] * len(counts)
    lengths = [past + new for past, new in zip(history, counts, strict=True)]
    random = np.random.default_rng(seed)
    slots = len(counts) + 2
    pages = -(-context // block_size)
    compressed = -(-pages // 64)
    return Step(
        tuple(counts),
        tuple(history),
        tuple(random.permutation(slots)[: len(counts)].tolist()),
        tuple(call_lengths or lengths),
        random.permutation(slots * pages).reshape(slots, pages).astype(np.int32),
        random.permutation(slots * compressed).reshape(slots, compressed).astype(np.int32),
        workers,
        tuple(generated),
    )


def _with_poison(values: Any) -> np.ndarray:
    return np.concatenate([np.asarray(values), np.full(EXTRA, -1)]).astype(np.int32)
