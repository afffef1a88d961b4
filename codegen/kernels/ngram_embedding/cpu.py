"""Rows of hashed n-grams on the CPU: hash and gather token by token, then keep the last ids."""

from dataclasses import dataclass
from itertools import accumulate

from sala_compile.codegen.kernels.ngram_embedding.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    KernelBuilder,
    Tensor,
    Tensors,
    choose,
    held,
    long,
    loop,
    prefetch,
    scalar,
    scratch,
    when,
)
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors
from sala_compile.codegen.kernels.tir.team import Team, workers

ALONE = 64
"""Sequences whose ids one thread keeps sooner than it wakes the others."""
LINE_BYTES = 64

# TVM multiplies signed integers with the promise that nothing wraps; a hash does.
_WRAPPING = """
define i64 @sala_mix_token(i64 %mixed, i64 %token, i64 %factor) alwaysinline {
  %p = mul i64 %token, %factor
  %r = xor i64 %mixed, %p
  ret i64 %r
}
define i64 @sala_remainder(i64 %x, i64 %size) alwaysinline {
  %r = srem i64 %x, %size
  %negative = icmp slt i64 %r, 0
  %up = add i64 %r, %size
  %found = select i1 %negative, i64 %up, i64 %r
  ret i64 %found
}
"""


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the rows of all tokens, then the windows of all sequences."""
    tensors, control = builder.tensors, builder.tensors.control
    heads = len(spec.sizes)

    def row(token: Expr) -> None:
        with T.attr(0, "pragma_import_llvm", _WRAPPING):
            _row(spec, tensors, token)

    def keep(team: Team) -> None:
        team.static(control.sequences, lambda sequence: _Kept.of(spec, tensors, sequence).emit())

    for_rows(builder, control, control.tokens, heads * spec.columns, row)
    workers(builder, control, keep, alone=control.sequences <= ALONE)


def _row(spec: Spec, tensors: Tensors, token: Expr) -> None:
    """Emit the hashes of one token, all rows on their way, then the copies."""
    ids = scratch((len(spec.sizes),), "int64")
    _hash(spec, tensors, token, ids)
    with loop(len(spec.sizes)) as head:
        place = held(ids[head], "int64")

        def write(column: Expr, count: int) -> None:
            value = spec.table.load(tensors.table, place, column, count=count)
            target = held(head * spec.columns + column)
            spec.output.store(tensors.out, token, target, value=value, count=count)

        for_vectors(spec.columns, write)
    clear_padding(spec.output, tensors.out, token, len(spec.sizes) * spec.columns)


def _hash(spec: Spec, tensors: Tensors, token: Expr, ids: Tensor) -> None:
    sequence, position = held(tensors.token_sequence[token]), held(tensors.token_position[token])
    index, slot = held(token - tensors.offsets[sequence]), held(tensors.slots[sequence])
    end, is_inside = T.int32(spec.end), scalar(T.int32(1), "int32")
    offsets = [*accumulate(spec.sizes[:-1], initial=0)]
    mixed = scalar(_mix(T.int64(0), tensors.tokens[token], spec.multipliers[0]), "int64")
    lines = LINE_BYTES // spec.table.bytes
    for back in range(1, spec.kept + 1):
        earlier = scalar(end, "int32")

        def of_step(earlier: Tensor = earlier, back: int = back) -> None:
            earlier[0] = tensors.tokens[token - back]

        def of_window(earlier: Tensor = earlier, back: int = back) -> None:
            earlier[0] = tensors.window[slot, index + (spec.kept - back)]

        with when(position >= back):
            choose(index >= back, of_step, of_window)
        is_inside[0] = T.if_then_else(earlier[0] != end, is_inside[0], T.int32(0))
        taken = held(T.if_then_else(is_inside[0] != 0, earlier[0], end))
        mixed[0] = _mix(mixed[0], taken, spec.multipliers[back])
        for head in range((back - 1) * spec.heads, back * spec.heads):
            size = T.int64(spec.sizes[head])
            remainder = T.call_pure_extern("int64", "sala_remainder", mixed[0], size)
            ids[head] = remainder + T.int64(offsets[head])
            for column in range(0, spec.columns, lines):
                prefetch(tensors.table, ids[head], column)


def _mix(mixed: Expr, token: Expr, factor: int) -> Expr:
    return T.call_pure_extern("int64", "sala_mix_token", mixed, long(token), T.int64(factor))


@dataclass(frozen=True, slots=True)
class _Kept:
    """The last ids of one sequence: those of the step, after those of its window."""

    spec: Spec
    tensors: Tensors
    first: Expr
    count: Expr
    history: Expr
    slot: Expr
    checkpoint: Expr

    @classmethod
    def of(cls, spec: Spec, tensors: Tensors, sequence: Expr) -> "_Kept":
        first = held(tensors.offsets[sequence])
        return cls(
            spec,
            tensors,
            first,
            held(tensors.offsets[sequence + 1] - first),
            held(tensors.history[sequence]),
            held(long(tensors.slots[sequence]), "int64"),
            held(long(tensors.checkpoints[sequence]), "int64"),
        )

    def emit(self) -> None:
        """Emit what is kept after each drafted token but the last, then after all."""
        with when(self.checkpoint >= 0), loop(self.count - 1) as drafted:
            self._after(held(drafted + 1), held(self.checkpoint + long(drafted), "int64"))
        with when(self.count > 0):
            self._after(self.count, self.slot)

    def _after(self, done: Expr, row: Expr) -> None:
        """Emit the window after `done` tokens: a place is read before what it gets is needed."""
        kept, window = self.spec.kept, self.tensors.window
        with loop(kept) as place:
            value, source = scalar(T.int32(0), "int32"), held(place + done)

            def of_step() -> None:
                value[0] = self.tensors.tokens[self.first + source - kept]

            def of_window() -> None:
                with when(self.history + source >= kept):
                    value[0] = window[self.slot, source]

            choose(source >= kept, of_step, of_window)
            window[row, place] = value[0]


FAMILY = CpuFamily(
    name="ngram_embedding", spec=Spec, describe=describe, arguments=arguments, emit=emit
)
