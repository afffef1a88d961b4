"""The kernels of this project, and what the machine can do at most, for the linear benchmarks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tvm_ffi import from_dlpack

from benchmarks.kernels.ceilings import CeilingWorks
from benchmarks.kernels.linear_cases import Case, Work, aligned, in_turn, together
from benchmarks.threads import use_threads
from sala_compile.codegen.kernels.linear.cpu import kernel as linear
from sala_compile.codegen.kernels.linear_integers.cpu import kernel as linear_integers
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.panels import panel_shape
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_functions


class OwnSide:
    """The kernels of this project, and the ceilings; `scales` has what the ceilings count."""

    def __init__(self, cases: Mapping[str, Sequence[Case]], threads: int) -> None:
        """Compile everything for this machine; a work does its cases one behind the other."""
        use_threads(threads)
        self._threads, self._target = threads, CpuTarget.host()
        specs = {case: _spec(case) for group in cases.values() for case in group}
        module = compile_functions(
            {
                spec.symbol: (linear_integers if case.bits else linear).FAMILY.build(
                    spec, self._target
                )
                for case, spec in specs.items()
            },
            self._target,
        )
        ceilings = CeilingWorks(self._target, threads)
        self.scales = ceilings.scales
        self.works: dict[str, Work] = dict(ceilings.works)
        for name, group in cases.items():
            self.works[name] = together(
                [self._linear(module[specs[case].symbol], case, specs[case]) for case in group]
            )

    def _call(self, function: Any, rows: int, *arrays: np.ndarray) -> Work:
        control = aligned((16,), "int32")
        control[:4] = rows, 1, rows, self._threads
        tensors = [from_dlpack(array) for array in (control, *arrays)]
        return lambda: function(*tensors)

    def _linear(self, function: Any, case: Case, spec: Any) -> Work:
        x = aligned((case.rows, case.depth), spec.weight.dtype)
        y = aligned((case.rows, case.columns), "float32")
        scratch = self._scratch(spec)
        return in_turn(
            [
                self._call(function, case.rows, x, *_weight(case, spec), y, *scratch)
                for _ in range(case.copies)
            ]
        )

    def _scratch(self, spec: Any) -> list[np.ndarray]:
        if isinstance(spec, linear_integers.Spec):
            schedule = linear_integers.FAMILY.default_schedule(spec, self._target)
            spaces = linear_integers.FAMILY.workspaces(spec, schedule)
            return [aligned((self._threads, space.elements), space.dtype) for space in spaces]
        size = linear.FAMILY.default_schedule(spec, self._target).workspace(spec)
        return [aligned((self._threads, size), "float32")]


def _spec(case: Case) -> Any:
    values: dict[str, Any] = {
        "depth": case.depth,
        "rows": case.columns,
        "weight": Element(case.kind),
        "output": Element.F32,
        "scale": 1.0,
        "bias": False,
        "swiglu": False,
        "extent": "tokens",
        "x_start": 0,
        "x_pitch": case.depth,
    }
    if case.bits:
        return linear_integers.Spec(
            **values,
            bits=case.bits,
            group=case.group,
            has_minima=case.minima,
            super_block=case.super_block,
            x_bits=case.x_bits,
        )
    return linear.Spec(**values)


def _weight(case: Case, spec: Any) -> list[np.ndarray]:
    """The stored tensors of a weight."""
    if not case.bits:
        shape = panel_shape(case.columns, case.depth, spec.weight.pack)
        return [aligned(shape, spec.weight.dtype)]
    shapes = spec.stored
    parts = [aligned(shapes.codes_shape, "uint16"), aligned(shapes.scales_shape, "uint16")]
    return parts + ([aligned(shapes.groups_shape, "int8")] if case.super_block else [])
