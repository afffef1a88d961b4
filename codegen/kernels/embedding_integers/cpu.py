"""y[t] = scale * weight[tokens[t]], the weight stored as integers in the panels of linears."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.embedding_integers import spec as embedding
from sala_compile.codegen.kernels.embedding_integers.spec import Spec, describe
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import panel_arguments
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Tensors,
    held,
    lanes,
    let,
    splat,
)
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T, tirx
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors
from sala_compile.codegen.layouts.integer_panels import (
    LOW,
    IntegerPanels,
    high_bits,
    high_shift,
    line_columns,
    low_bits,
    unit_columns,
    unit_lines,
)
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return embedding.arguments(spec, panel_arguments(spec.stored(IntegerPanels)))


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the values of all rows."""
    tensors = builder.tensors

    def body(row: Expr) -> None:
        token = held(tensors.tokens[row])
        line = _PanelRow(spec, tensors, held(token // PANEL_ROWS), held(token % PANEL_ROWS))

        def write(column: Expr, count: int) -> None:
            value = line.values(held(column)) * splat(spec.scale)
            spec.output.store(tensors.y, row, column, value=value, count=count)

        for_vectors(spec.columns, write, together=1)
        clear_padding(spec.output, tensors.y, row, spec.columns)

    for_rows(builder, tensors.control, tensors.control.tokens, spec.columns, body)


@dataclass(frozen=True, slots=True)
class _PanelRow:
    """One row of a panel: 4 bytes of every line."""

    spec: Spec
    tensors: Tensors
    panel: Expr
    place: Expr

    def values(self, column: Expr) -> Expr:
        """The values of 16 columns, exact but for the sum with a minimum, rounded once."""
        spec = self.spec
        group = held(column // spec.group)
        zero = splat(float(spec.zero))
        stored = self.tensors.find("zeros")
        if stored is not None:
            zero = splat(T.Cast("float32", stored[self.panel, group, self.place]))
        steps = T.Cast(vector.FLOATS, self._codes(column)) - zero
        scale = self._number(group, 0)
        return (
            vector.fma(steps, scale, self._number(group, 1)) if spec.has_minima else steps * scale
        )

    def _number(self, group: Expr, entry: int) -> Expr:
        """The scale (`entry` 1: the minimum) of a group, 16 times."""
        spec, scales = self.spec, self.tensors.scales
        place = held(group * spec.entries + entry)
        wide = place
        if spec.super_block:
            wide = held(group // (spec.super_block // spec.group) * spec.entries + entry)
        half = T.broadcast(scales[self.panel, wide, self.place], LANES)
        number = vector.from_f16(half)
        if not spec.super_block:
            return let(number)
        factor = self.tensors.factors[self.panel, place, self.place]
        return let(number * splat(T.Cast("float32", factor)))

    def _codes(self, column: Expr) -> Expr:
        """The integers of 16 columns, int32."""
        bits, step = self.spec.bits, line_columns(self.spec.bits)
        unit, lines = held(column // unit_columns(bits)), unit_lines(bits)
        within = held(column % unit_columns(bits))
        # Units of fewer than 16 columns have one line each: lines follow one another.
        first = held(unit * lines + within // step)
        words = [self._word(first + line) for line in range(LANES // step)]
        low = [16 * (j % 2) + low_bits(bits) * (j // 2) for j in range(step)]
        codes = _selected(words, step) >> _constants(low * len(words))
        codes = codes & T.broadcast(T.int32((1 << low_bits(bits)) - 1), LANES)
        if not high_bits(bits):
            return codes
        # In each 16 columns of a unit the high bits begin so much later.
        later = within // LANES * (2 * high_bits(bits) * (LANES // step))
        high = T.broadcast(self._word(unit * lines + (lines - 1)) >> later, LANES)
        places = [
            16 * (j % 2) + high_shift(bits, line, j // 2)
            for line in range(LANES // step)
            for j in range(step)
        ]
        mask = T.broadcast(T.int32((1 << high_bits(bits)) - 1), LANES)
        return codes | ((high >> _constants(places)) & mask) << T.broadcast(T.int32(LOW), LANES)

    def _word(self, line: Expr) -> Expr:
        """The two words of a line, as 32 bits."""
        pair = self.tensors.codes[self.panel, line, self.place, lanes(0, 2)]
        return held(T.reinterpret(pair, dtype="int32"))


def _selected(words: list[Expr], step: int) -> Expr:
    """Each of the words `step` times."""
    repeated = [word for word in words for _ in range(step)]
    return tirx.Shuffle(repeated, [tirx.const(i, "int32") for i in range(LANES)])


def _constants(values: list[int]) -> Expr:
    """A vector of constants."""
    return tirx.Shuffle(
        [tirx.const(value, "int32") for value in values],
        [tirx.const(i, "int32") for i in range(LANES)],
    )


FAMILY = CpuFamily(
    name="embedding_integers",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    layouts=lambda spec: {"weight": LayoutAttr.panel(PANEL_ROWS)},
    emit=emit,
)
