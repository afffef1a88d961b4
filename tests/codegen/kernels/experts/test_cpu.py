"""Products of experts against NumPy in float64, and their bits over batches and threads."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.experts.cpu.kernel import FAMILY
from sala_compile.codegen.kernels.experts.spec import Part, Spec
from sala_compile.codegen.kernels.linear_integers.cpu import spec as integers
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.panels import pack_panels
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.expert_kinds import ExpertActivation
from sala_compile.sala_ir.reference import expert_down, expert_up, interleaved_part
from tests.codegen.kernels.linear.test_cpu import exact, stored
from tests.support.integers import panel_parts, random_integers
from tests.support.steps import EXTRA, Library, aligned, padded, poisoned

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
PAIRS = CpuTarget("znver4")
BF16, F32 = Element.BF16, Element.F32
SWIGLU, SQUARED = ExpertActivation.SWIGLU, ExpertActivation.SQUARED_RELU
TOKENS = (0, 1, 2, 5, 9, 40, 130)


def up_of(
    experts: int, chosen: int, depth: int, width: int, weight: Element, **options: Any
) -> Spec:
    """A first product of `width` columns for each expert."""
    gated = options.get("activation", SWIGLU) is SWIGLU
    rows, start = width * (2 if gated else 1), options.get("x_start", 0)
    own: dict[str, Any] = {"output": weight, "x_start": 0, "x_pitch": padded(depth + start + 1)}
    sizes = (experts, chosen, depth, rows, width, chosen * width, weight)
    return Spec(Part.UP, *sizes, **(own | options))


def down_of(
    experts: int, chosen: int, depth: int, columns: int, weight: Element, **options: Any
) -> Spec:
    """A second product with `columns` columns."""
    rows, width = -(-columns // 64) * 64, -(-depth // 64) * 64
    own: dict[str, Any] = {"output": F32, "x_start": 0, "x_pitch": chosen * width}
    own |= {"gates_start": 0, "gates_pitch": padded(chosen)}
    sizes = (experts, chosen, depth, rows, width, columns, weight)
    return Spec(Part.DOWN, *sizes, **(own | options))


INT4: dict[str, Any] = {"bits": 4, "group": 32}
SPECS = {
    "up": up_of(7, 2, 50, 64, BF16),
    "up-float": up_of(5, 3, 33, 128, F32, x_start=3),
    "up-squared": up_of(6, 2, 40, 64, BF16, activation=SQUARED, output=F32),
    "up-limit": up_of(4, 2, 96, 64, F32, limit=0.7),
    "up-int4": up_of(9, 3, 100, 64, BF16, **INT4),
    "up-int4-wide": up_of(3, 1, 256, 192, BF16, bits=4, group=128, stores_zeros=True),
    "up-int8-float": up_of(4, 2, 64, 64, F32, bits=8, group=64, activation=SQUARED),
    "up-bytes": up_of(5, 2, 128, 64, BF16, x_bits=8, **INT4),
    "down": down_of(7, 2, 50, 130, BF16),
    "down-float": down_of(5, 3, 33, 70, F32, scale=-1.5, residual_start=6, residual_pitch=96),
    "down-int4": down_of(9, 3, 100, 128, BF16, residual_pitch=128, **INT4),
    "down-int8": down_of(4, 4, 64, 48, BF16, bits=8, group=32, gates_start=3, gates_pitch=32),
    "down-bytes": down_of(5, 2, 128, 64, BF16, x_bits=8, **INT4),
}
ON_ALL_TARGETS = ("up", "up-int4", "down", "down-float", "down-int4")


@cache
def library(target: CpuTarget) -> Library:
    """The kernels for a target."""
    names = SPECS if target == HOST else ON_ALL_TARGETS
    return Library([FAMILY.build(SPECS[name], target) for name in names], target)


class Problem:
    """Random operands of a spec for some tokens, and what the kernel must give."""

    def __init__(self, spec: Spec, tokens: int, seed: int = 0):
        random = np.random.default_rng(seed)
        self.spec, self.tokens = spec, tokens
        self.x = poisoned(tokens + EXTRA, spec.x_pitch, dtype=spec.weight.dtype)
        self.x[:tokens] = stored(random.standard_normal((tokens, spec.x_pitch)), spec.weight)
        # Some experts are chosen by many, some by nobody.
        liked = random.standard_normal(spec.experts) * 2
        scores = liked + random.standard_normal((tokens, spec.experts))
        chosen = np.sort(np.argsort(-scores, axis=1)[:, : spec.chosen], axis=1)
        self.experts = poisoned(tokens + EXTRA, spec.chosen, dtype=np.int32)
        self.experts[:tokens] = chosen
        rows = spec.experts * spec.rows
        own = spec.rows if spec.part is Part.UP else spec.columns
        padding = np.arange(rows) % spec.rows >= own
        if spec.bits:
            found = random_integers(spec.one, rows, spec.depth, seed)
            found.scales[padding] = 0
            self.parts = panel_parts(found, spec.bits, zeros=spec.stores_zeros)
            self.weight = found.values(spec.depth).astype(np.float64)
        else:
            weight = stored(random.standard_normal((rows, spec.depth)), spec.weight)
            weight[padding] = 0
            self.parts, self.weight = [aligned(pack_panels(weight))], exact(weight)
        self.gates = self.residual = None
        if spec.part is Part.DOWN:
            self.gates = poisoned(tokens + EXTRA, spec.gates_pitch)
            self.gates[:tokens] = random.standard_normal((tokens, spec.gates_pitch))
        if spec.residual_pitch:
            self.residual = poisoned(tokens + EXTRA, spec.residual_pitch)
            self.residual[:tokens] = random.standard_normal((tokens, spec.residual_pitch))

    def some(self, rows: slice) -> "Problem":
        """The same for some of the tokens."""
        part = object.__new__(Problem)
        part.__dict__.update(self.__dict__)
        part.tokens = len(range(*rows.indices(self.tokens)))
        for name in ("x", "experts", "gates", "residual"):
            found = getattr(self, name)
            if found is not None:
                kept = found[: self.tokens][rows]
                setattr(part, name, aligned(np.concatenate([kept, found[self.tokens :]])))
        return part

    def expert(self, number: int) -> np.ndarray:
        """The weight of an expert."""
        rows = self.spec.rows
        return self.weight[number * rows : (number + 1) * rows]

    def expected(self, magnitude: bool = False) -> np.ndarray:
        """The result in float64; with `magnitude` what errors of products are measured by."""
        spec, ids = self.spec, self.experts[: self.tokens]
        x = exact(self.x[: self.tokens])
        read = (lambda e: np.abs(self.expert(e))) if magnitude else self.expert
        x = np.abs(x) if magnitude else x
        if spec.part is Part.UP:
            x = x[:, spec.x_start : spec.x_start + spec.depth]
            if spec.activation is SQUARED:
                return expert_up(x, ids, read, activation="squared_relu")
            return expert_up(
                x,
                ids,
                lambda e: interleaved_part(read(e), 1, group=16),
                lambda e: interleaved_part(read(e), 0, group=16),
                activation="swiglu",
                limit=0.0 if magnitude else spec.limit,
            )
        assert self.gates is not None
        gates = self.gates[: self.tokens, spec.gates_start :].astype(np.float64)[:, : spec.chosen]
        gates = np.abs(gates) if magnitude else gates
        scale = abs(spec.scale) if magnitude else spec.scale
        y = scale * expert_down(x, ids, gates, lambda e: read(e)[: spec.columns], width=spec.width)
        if self.residual is not None and not magnitude:
            start = spec.residual_start
            y = y + self.residual[: self.tokens, start : start + spec.columns]
        return y

    def run(self, target: CpuTarget, workers: int = 2) -> np.ndarray:
        """The live rows; the output and the workspaces are poisoned beforehand."""
        spec, schedule = self.spec, FAMILY.default_schedule(self.spec, target)
        control = np.zeros(16, np.int32)
        control[0], control[3] = self.tokens, workers
        optional = [each for each in (self.residual,) if each is not None]
        gates = [] if self.gates is None else [self.gates]
        out = poisoned(self.tokens + EXTRA, padded(spec.columns), dtype=spec.output.dtype)
        scratch = [
            poisoned(workers, s.elements + s.elements_per_token * self.tokens, dtype=s.dtype)
            for s in FAMILY.workspaces(spec, schedule)
        ]
        given = [aligned(control), self.x, self.experts, *gates, *self.parts, *optional]
        library(target).call(spec.symbol, *given, out, *scratch)
        rest = out[self.tokens :]
        assert (rest == 0xFFFF).all() if out.dtype == np.uint16 else np.isnan(rest).all()
        if self.residual is None:
            assert (out[: self.tokens, spec.columns :] == 0).all()
        return out[: self.tokens, : spec.columns]


def check(problem: Problem, target: CpuTarget) -> None:
    """Products are off by the rounding of x and of float32 sums at most."""
    spec = problem.spec
    found, wanted = exact(problem.run(target)), problem.expected()
    lost = 2.0**-18
    if isinstance(spec.one, integers.Spec):
        lost = 1 / 100 if spec.x_bits == 8 else 2.0**-12
    bound = lost * problem.expected(magnitude=True) + 2.0**-18 * np.abs(wanted)
    if spec.output is BF16:
        bound = bound + 2.0**-8 * np.abs(wanted)
    assert (np.abs(found - wanted) <= bound + 1e-30).all()


@pytest.mark.parametrize("name", SPECS)
def test_against_numpy(name: str) -> None:
    for tokens in TOKENS:
        check(Problem(SPECS[name], tokens), HOST)


@pytest.mark.parametrize(
    "target", [t for t in (PORTABLE, PAIRS) if t.runs_here], ids=lambda target: target.processor
)
@pytest.mark.parametrize("name", ON_ALL_TARGETS)
def test_other_targets(name: str, target: CpuTarget) -> None:
    for tokens in (1, 6, 130):
        check(Problem(SPECS[name], tokens), target)


@pytest.mark.parametrize("name", SPECS)
def test_a_token_has_the_same_bits_in_any_batch_and_on_any_threads(name: str) -> None:
    """Alone, where it is the only row of its experts, and among many, which take whole blocks."""
    problem = Problem(SPECS[name], 130)
    together = problem.run(HOST, workers=2)
    assert np.array_equal(problem.run(HOST, workers=5), together)
    for rows in (slice(0, 1), slice(77, 78), slice(3, 9), slice(50, 130)):
        assert np.array_equal(problem.some(rows).run(HOST, workers=1), together[rows])


@pytest.mark.parametrize("name", ["up", "up-int4", "down", "down-int4", "down-float"])
def test_weights_of_other_experts_are_not_read(name: str) -> None:
    """They may hold anything; those of chosen experts may not."""
    problem = Problem(SPECS[name], 3)
    before = problem.run(HOST).copy()
    panels = problem.spec.panels
    unread = sorted(set(range(problem.spec.experts)) - set(problem.experts[:3].ravel().tolist()))
    assert unread
    for part in problem.parts:
        poison = poisoned(*part.shape, dtype=part.dtype)
        for expert in unread:
            place = slice(expert * panels, (expert + 1) * panels)
            part[place] = poison[place]
    assert np.array_equal(problem.run(HOST), before)


def test_specs_are_told_apart_by_their_symbols() -> None:
    assert len({spec.symbol for spec in SPECS.values()}) == len(SPECS)
    other = replace(SPECS["up"], limit=2.0)
    assert other.symbol != SPECS["up"].symbol
