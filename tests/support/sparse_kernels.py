"""Kernels of sparse attention on the CPU: cases, their inputs, and how they are called."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np

from sala_compile.codegen.kernels.attend_blocks.cpu import kernel as attend_blocks
from sala_compile.codegen.kernels.select_blocks.cpu import kernel as select_blocks
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir import reference
from tests.support import tiles
from tests.support.pools import Pools
from tests.support.sparse_layer import START, SparseCase, SparseLayer
from tests.support.steps import EXTRA, Library, Step, aligned, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
BF16, F32 = Element.BF16, Element.F32


@dataclass(frozen=True, slots=True)
class Case(SparseCase):
    """A sparse layer and the kernels that compute it."""

    @property
    def select(self) -> select_blocks.Spec:
        """The selection kernel."""
        return select_blocks.Spec(
            num_heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.size,
            scale=self.size**-0.5,
            init_blocks=self.init,
            window_blocks=self.window,
            topk=self.topk,
            dense_len=self.dense_len,
            block_size=self.block,
            kernel_size=2 * self.stride,
            kernel_stride=self.stride,
            element=self.element,
            q_start=START,
            q_pitch=self.pitch,
        )

    @property
    def attend(self) -> attend_blocks.Spec:
        """The attention kernel over block lists."""
        return attend_blocks.Spec(
            num_heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.size,
            block_size=self.block,
            scale=self.size**-0.5,
            element=self.element,
            out_element=self.out_element,
            budget=self.topk + self.window,
            q_start=START,
            q_pitch=self.pitch,
            gate=self.gate,
            gate_start=self.gate_start if self.gate else 0,
            gate_pitch=self.pitch if self.gate else 0,
        )

    @property
    def dense(self) -> attend_blocks.Spec:
        """The attention kernel without block lists."""
        return replace(self.attend, budget=0)


CASES = (
    Case(16, 1, 128, 64, 16, BF16, BF16, window=1, topk=3, dense_len=256),
    Case(1, 1, 10, 16, 4, F32),
    Case(4, 2, 30, 24, 8, BF16, gate=False, init=0, window=1, topk=3),
    Case(3, 1, 16, 32, 32, F32, init=2, window=0, topk=5),
    Case(8, 2, 8, 16, 4, BF16, BF16, window=3),
    Case(6, 2, 64, 32, 16, F32, F32, gate=False, topk=3, dense_len=0),
    Case(10, 2, 32, 64, 16, BF16, topk=2, window=1),
)
PORTABLE_CASES = (CASES[1], CASES[2], CASES[4])
TILED_CASES = (CASES[0], CASES[6])
"""Those that AMX scores where a target has it."""
TARGETS = [(case, HOST) for case in CASES] + [(case, PORTABLE) for case in PORTABLE_CASES]


@cache
def compiled(family: Any, spec: Any, target: CpuTarget, schedule: Any = None) -> Library:
    """A kernel, with its default schedule if none is given."""
    return tiles.tile_library([family.build(spec, target, schedule)], target)


@dataclass(frozen=True, slots=True)
class Layer(SparseLayer):
    """Inputs of a step, and caches as processors have them."""

    pool_type: ClassVar[Any] = Pools

    def rounding(self) -> reference.Round:
        """What operands of products are rounded to."""
        return reference.to_bfloat16 if self.case.element is BF16 else reference.exact


def run_select(layer: Layer, target: CpuTarget) -> tuple[np.ndarray, np.ndarray]:
    """Blocks and counts of all tokens."""
    case, batch = layer.case, layer.batch
    spec, schedule = case.select, select_blocks.FAMILY.default_schedule(case.select, target)
    names = ("control", "token_sequence", "token_position", "call_lengths", "slots")
    fields = [batch.field(name) for name in (*names, "compressed_table")]
    rows = batch.tokens + EXTRA
    blocks = poisoned(rows, case.kv_heads, spec.budget, dtype=np.int32)
    blocks[:] = -77
    counts = poisoned(rows, case.kv_heads, dtype=np.int32)
    counts[:] = -77
    pages = batch.pages.shape[1]
    scratch = [
        poisoned(batch.workers, w.elements + w.elements_per_page * pages, dtype=w.dtype)
        for w in select_blocks.FAMILY.workspaces(spec, schedule)
    ]
    pools = (layer.pools.fine, layer.pools.coarse)
    kernel = compiled(select_blocks.FAMILY, spec, target)
    kernel.call(spec.symbol, *fields, layer.merged, *pools, blocks, counts, *scratch)
    assert (blocks[batch.tokens :] == -77).all()
    assert (counts[batch.tokens :] == -77).all()
    return blocks[: batch.tokens], counts[: batch.tokens]


def run_attend(
    layer: Layer,
    target: CpuTarget,
    lists: tuple[np.ndarray, np.ndarray] | None,
    pools: Pools | None = None,
    schedule: attend_blocks.Schedule | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Output as stored and blocks read, by a kernel of the default schedule or of another."""
    case, batch, pools = layer.case, layer.batch, pools or layer.pools
    spec = case.dense if lists is None else case.attend
    kernels = compiled(attend_blocks.FAMILY, spec, target, schedule)
    schedule = schedule or attend_blocks.FAMILY.default_schedule(case.attend, target)
    names = ("control", "token_sequence", "token_position", "offsets", "slots", "page_table")
    fields = [batch.field(name) for name in names]
    dtype = np.dtype(case.out_element.dtype)
    out = poisoned(batch.tokens + EXTRA, padded(case.used), dtype=dtype)
    read = poisoned(batch.tokens + EXTRA, case.kv_heads, dtype=np.int32)
    read[:] = -77
    scratch = [
        poisoned(batch.workers, each.elements, dtype=each.dtype)
        for each in attend_blocks.FAMILY.workspaces(spec, schedule)
    ]
    inputs = [] if lists is None else [aligned(x) for x in lists]
    gate = [layer.merged] if case.gate else []
    kernels.call(
        spec.symbol, *fields, layer.merged, pools.k, pools.v, *inputs, *gate, out, read, *scratch
    )
    values = out if case.out_element is F32 else (out.astype(np.uint32) << 16).view(np.float32)
    assert np.isnan(values[batch.tokens :]).all()
    assert (values[: batch.tokens, case.used :] == 0).all()
    assert (read[batch.tokens :] == -77).all()
    return values[: batch.tokens, : case.used], read[: batch.tokens]


def batches(case: Case) -> list[Step]:
    """Prefill over every boundary, a mixed step, and decoding of unequal lengths.

    Small layers also go beyond the 64 blocks of one page of compressed keys.
    """
    block, length = case.block, (case.topk + case.window + 3) * case.block
    far = 66 * block if case.used < 200 else length - 5
    common = {"block_size": block, "context": max(far, length) + 3 * block}
    dense = case.dense_len
    return [
        step((length + 3, max(1, dense - 1)), call_lengths=(length + 3, dense), **common),
        step(
            (1, 5, block + 1, 1, 9),
            (far, length, 3, 8 * case.stride - 2, dense),
            call_lengths=(far + 1, length + 200, 3 * length, 8 * case.stride - 1, dense - 1),
            seed=1,
            **common,
        ),
        step((1,) * 5, (length, length - 1, block - 1, 0, far), seed=2, **common),
    ]
