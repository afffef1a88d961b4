"""The experts of every token with the largest scores, on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.route.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Tensors,
    held,
    lanes,
    let,
    loop,
    registers,
    scalar,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import ALONE_ELEMENTS, clear_padding, for_vectors
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.expert_kinds import ScoreFunction

LEAST = -3.4028234663852886e38
"""Below all finite scores but one."""
NONE = -float("inf")
"""The rank of an expert that is taken, or cannot be."""
BEYOND = float(1 << 24)
"""Above every number of an expert."""


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the choice of every live token."""
    control = builder.tensors.control
    rows = control.tokens

    def work(team: Team) -> None:
        team.static(rows, _Choice(spec, builder.tensors, team.worker).emit)

    workers(builder, control, work, alone=rows <= max(1, ALONE_ELEMENTS // (8 * spec.experts)))


@dataclass(frozen=True, slots=True)
class _Choice:
    """The choice of one token: its worker's row has the worth of the experts, then their ranks."""

    spec: Spec
    tensors: Tensors
    worker: Expr

    @property
    def _ranks(self) -> int:
        """Where the ranks begin."""
        return padded(self.spec.experts)

    def emit(self, row: Expr) -> None:
        """Emit numbers and gates of a token."""
        if self.spec.function is ScoreFunction.SOFTMAX:
            self._softmax(row)
        else:
            self._sigmoid(row)
        if self.spec.groups > self.spec.chosen_groups:
            self._drop_groups()
        self._choose(row)
        self._gates(row)

    def _each(self, body: Callable[[Expr, int], None]) -> None:
        for_vectors(self.spec.experts, body)

    def _keep(self, column: Expr, count: int, worth: Expr, rank: Expr) -> None:
        worth, rank = let(worth), let(rank)
        self.tensors.worth[self.worker, lanes(column)] = worth
        if count < LANES:
            rank = vector.first_lanes(rank, count, splat(NONE))
        self.tensors.worth[self.worker, lanes(column + self._ranks)] = rank

    def _bias(self, column: Expr) -> Expr:
        found = self.tensors.find("bias")
        return splat(0.0) if found is None else found[lanes(column)]

    def _scores(self, row: Expr, column: Expr, count: int) -> Expr:
        place = column + self.spec.scores_start
        return Element.F32.load(self.tensors.scores, row, place, count=count)

    def _sigmoid(self, row: Expr) -> None:
        def keep(column: Expr, count: int) -> None:
            worth = let(vector.sigmoid(self._scores(row, column, count)))
            self._keep(column, count, worth, worth + self._bias(column))

        self._each(keep)

    def _softmax(self, row: Expr) -> None:
        """Worth p, ranked by the scores, which are apart where p are equal."""
        most, total = registers(1).fill(1, LEAST), registers(1).fill(1)

        def find(column: Expr, count: int) -> None:
            scores = let(self._scores(row, column, count))
            if count < LANES:
                scores = vector.first_lanes(scores, count, splat(LEAST))
            most[0] = vector.maximum(scores, most[0])

        self._each(find)
        largest = let(vector.largest(most[0]))

        def add(column: Expr, count: int) -> None:
            scores = let(self._scores(row, column, count))
            raised = let(vector.exp(scores - splat(largest)))
            if count < LANES:
                raised = vector.first_lanes(raised, count, splat(0.0))
            total[0] = total[0] + raised
            rank = scores if not self.spec.bias else raised
            self._keep(column, count, raised, rank)

        self._each(add)
        factor = let(splat(T.float32(1.0) / vector.total(total[0])))

        def divide(column: Expr, count: int) -> None:
            here = (self.worker, lanes(column))
            worth = let(self.tensors.worth[here] * factor)
            self.tensors.worth[here] = worth
            if self.spec.bias:
                self._keep(column, count, worth, worth + self._bias(column))

        self._each(divide)

    def _drop_groups(self) -> None:
        """Emit ranks of minus infinity for the experts outside the chosen groups."""
        spec, size = self.spec, self.spec.experts // self.spec.groups
        ranks, first = self.tensors.worth, self._ranks
        best = scalar(T.float32(NONE))
        taken = scalar(T.int32(0), "int32")
        with loop(spec.groups - spec.chosen_groups):
            best[0], taken[0] = T.float32(float("inf")), T.int32(0)
            with loop(spec.groups) as group:
                largest, second = scalar(T.float32(NONE)), scalar(T.float32(NONE))
                with loop(size) as index:
                    rank = held(ranks[self.worker, first + group * size + index], "float32")
                    second[0] = T.max(second[0], T.min(rank, largest[0]))
                    largest[0] = T.max(largest[0], rank)
                together = held(largest[0] + second[0], "float32")
                # The worst of those that are left: of equal ones the last.
                with when(T.And(together > T.float32(NONE), together <= best[0])):
                    best[0], taken[0] = together, group
            with loop(size) as index:
                ranks[self.worker, held(first + taken[0] * size + index)] = T.float32(NONE)

    def _choose(self, row: Expr) -> None:
        """Emit the numbers of the experts with the largest ranks, then in ascending order."""
        spec, experts, ranks = self.spec, self.tensors.experts, self.tensors.worth
        vectors = padded(spec.experts) // LANES
        best, place = registers(1), registers(1)
        with loop(spec.chosen) as turn:
            best[0] = splat(NONE)
            with loop(vectors) as index:
                here = held(index * LANES + self._ranks)
                best[0] = vector.maximum(ranks[self.worker, lanes(here)], best[0])
            largest = let(splat(vector.largest(best[0])))
            place[0] = splat(BEYOND)
            with loop(vectors) as index:
                here = held(index * LANES + self._ranks)
                numbers = T.Cast(
                    vector.FLOATS, T.ramp(T.int32(0), 1, LANES) + T.broadcast(index * LANES, LANES)
                )
                found = ranks[self.worker, lanes(here)] >= largest
                place[0] = T.min(place[0], T.Select(found, numbers, splat(BEYOND)))
            first = T.Cast("int32", -vector.largest(-place[0]))
            # Ranks that are no numbers are above none: some expert is taken for them.
            number = held(T.min(first, spec.experts - 1))
            ranks[self.worker, held(number + self._ranks)] = T.float32(NONE)
            spot = scalar(turn, "int32")
            with T.While(T.And(spot[0] > 0, experts[row, T.max(spot[0] - 1, 0)] > number)):
                experts[row, spot[0]] = experts[row, spot[0] - 1]
                spot[0] = spot[0] - 1
            experts[row, spot[0]] = number

    def _gates(self, row: Expr) -> None:
        spec, gates = self.spec, self.tensors.gates
        total = scalar(T.float32(0.0))
        with loop(spec.chosen) as slot:
            worth = held(
                self.tensors.worth[self.worker, self.tensors.experts[row, slot]], "float32"
            )
            gates[row, slot] = worth
            total[0] = total[0] + worth
        factor = T.float32(spec.scale)
        if spec.normalised:
            factor = held(T.float32(spec.scale) / (total[0] + T.float32(spec.eps)), "float32")
        with loop(spec.chosen) as slot:
            gates[row, slot] = gates[row, slot] * factor
        clear_padding(Element.F32, gates, row, spec.chosen)


FAMILY = CpuFamily(name="route", spec=Spec, describe=describe, arguments=arguments, emit=emit)
