"""Rows by their experts: a list of pairs (token, which of its experts), and views through it."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.experts.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    Control,
    Expr,
    Tensor,
    Tensors,
    held,
    long,
    loop,
    scalar,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T, tirx
from sala_compile.codegen.layouts.padding import padded

UNIT = 3
"""Words of a unit: expert, first place in the list, rows."""


def list_words(spec: Spec) -> tuple[int, int]:
    """Words of the list: those of any step, and for each token places and at most as many units."""
    return padded(spec.experts + 1), spec.chosen * (1 + UNIT)


@dataclass(frozen=True, slots=True)
class ExpertRows:
    """The list in the first row of the workspace `list`.

    Word 0 has the number of units, then each expert has a word that is used while the list is made;
    then the places by expert, tokens ascending: token * chosen + which; then the units, each of
    which is up to `block` rows of one expert.
    """

    spec: Spec
    tensors: Tensors
    block: int

    @property
    def _words(self) -> Tensor:
        return self.tensors.list

    @property
    def _first(self) -> int:
        return list_words(self.spec)[0]

    def units(self) -> Expr:
        """How many units there are."""
        return held(self._words[0, 0])

    def unit(self, index: Expr, live: Expr) -> tuple[Expr, Expr, Expr]:
        """Expert, first place and rows of a unit."""
        start = held(self._first + live * self.spec.chosen + index * UNIT)
        expert, first, count = (held(self._words[0, start + n]) for n in range(UNIT))
        return expert, first, count

    def pair(self, place: Expr) -> tuple[Expr, Expr]:
        """The token at a place of the list, and which of its experts."""
        pair = held(self._words[0, held(self._first + place)])
        return held(pair // self.spec.chosen), held(pair % self.spec.chosen)

    def emit(self, control: Control) -> None:
        """Emit the list of a step, by one thread: a counting sort."""
        spec, words, first = self.spec, self._words, self._first
        ids, live = self.tensors.experts, held(control.tokens)
        with loop(spec.experts) as expert:
            words[0, expert + 1] = 0
        with loop(live) as token, loop(spec.chosen) as slot:
            place = held(ids[token, slot] + 1)
            words[0, place] = words[0, place] + 1
        done, units = scalar(T.int32(0), "int32"), scalar(T.int32(0), "int32")
        with loop(spec.experts) as expert:
            count = held(words[0, expert + 1])
            words[0, expert + 1] = done[0]
            with when(count > 0):
                with loop((count + (self.block - 1)) // self.block) as index:
                    start = held(first + live * spec.chosen + units[0] * UNIT)
                    words[0, start] = expert
                    words[0, start + 1] = done[0] + index * self.block
                    words[0, start + 2] = T.min(count - index * self.block, self.block)
                    units[0] = units[0] + 1
                done[0] = done[0] + count
        words[0, 0] = units[0]
        with loop(live) as token, loop(spec.chosen) as slot:
            place = held(ids[token, slot] + 1)
            here = held(words[0, place])
            words[0, held(first + here)] = token * spec.chosen + slot
            words[0, place] = here + 1


@dataclass(frozen=True, slots=True)
class ListedRows:
    """Row i of `tensor` is that of place i of the list; `width` columns for each of its experts."""

    rows: ExpertRows
    tensor: Tensor
    width: int = 0

    def __getitem__(self, indices: Any) -> Expr:
        """The element or vector, as of a `Tensor`."""
        return self.tensor[self._place(indices)]

    def address(self, *indices: Expr) -> Expr:
        """The address of an element."""
        return self.tensor.address(*self._place(indices))

    def _place(self, indices: Any) -> tuple[Expr, Expr]:
        place, column = indices
        token, slot = self.rows.pair(place)
        return token, _moved(column, slot * self.width) if self.width else column


@dataclass(frozen=True, slots=True)
class CopiedRows:
    """Row `first` + i of a workspace of a worker is at i * `pitch`."""

    tensor: Tensor
    worker: Expr
    first: Expr
    pitch: int

    def __getitem__(self, indices: Any) -> Expr:
        """The element or vector, as of a `Tensor`."""
        return self.tensor[self._place(indices)]

    def __setitem__(self, indices: Any, value: Expr) -> None:
        """Emit a store."""
        self.tensor[self._place(indices)] = value

    def address(self, *indices: Expr) -> Expr:
        """The address of an element."""
        return self.tensor.address(*self._place(indices))

    def _place(self, indices: Any) -> tuple[Expr, Expr]:
        row, column = indices
        return self.worker, _moved(column, (row - self.first) * self.pitch)


def _moved(column: Expr, by: Expr) -> Expr:
    """A column, or the columns of a vector, so much farther."""
    if isinstance(column, tirx.Ramp):
        return T.ramp(column.base + long(by), column.stride, column.lanes)
    return column + by
