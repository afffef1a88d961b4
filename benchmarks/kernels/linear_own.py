"""The kernels of this project, and what the machine can do at most, for the linear benchmark."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm_ffi import from_dlpack

from benchmarks.kernels.ceilings import (
    FLOATS_PER_WORKER,
    byte_kernel,
    multiply_add_kernel,
    pair_kernel,
    read_kernel,
    tile_kernel,
)
from benchmarks.kernels.linear_cases import Case, Work, aligned, in_turn
from benchmarks.threads import use_threads
from codegen.kernels.linear import cpu as linear
from codegen.kernels.linear.layout import PANEL_ROWS, panel_shape
from codegen.kernels.linear_integers import cpu as linear_integers
from codegen.kernels.tir.element import Element
from codegen.targets.cpu import CpuTarget, compile_functions
from runtime.artifact.processor import permit_tiles

READ_BYTES = 512 << 20


class OwnSide:
    """The kernels of this project, and the ceilings."""

    def __init__(self, threads: int, cases: Sequence[Case]) -> None:
        """Compile everything for this machine."""
        use_threads(threads)
        self._threads, self._target = threads, CpuTarget.host()
        target = self._target
        multiply_add, operations = multiply_add_kernel(target)
        pairs, pair_operations = pair_kernel(target)
        bytes_of_four, byte_operations = byte_kernel(target)
        specs = {case.name: _spec(case) for case in cases}
        families = {case.name: linear_integers if case.bits else linear for case in cases}
        functions = {
            spec.symbol: families[name].build(spec, target) for name, spec in specs.items()
        }
        functions |= {"read": read_kernel(target, READ_BYTES // 64)}
        functions |= {"multiply_add": multiply_add, "pairs": pairs, "bytes": bytes_of_four}
        module = compile_functions(functions, target)
        result = aligned((threads * FLOATS_PER_WORKER,), "float32")
        memory = aligned((READ_BYTES // 4,), "float32")
        self.works: dict[str, Work] = {
            "read": self._call(module["read"], 1, memory, result),
            "multiply_add": self._call(module["multiply_add"], 1, result),
            "pairs": self._call(module["pairs"], 1, result),
            "bytes": self._call(module["bytes"], 1, result),
        }
        for case in cases:
            spec = specs[case.name]
            self.works[case.name] = self._linear(module[spec.symbol], case, spec)
        self.scales = {"read": READ_BYTES, "multiply_add": operations * threads}
        self.scales["pairs"] = pair_operations * threads
        self.scales["bytes"] = byte_operations * threads
        if target.has_amx_bf16:
            permit_tiles()
            tiles, operations = tile_kernel(target)
            module = compile_functions({"tiles": tiles}, target)
            self.works["tiles"] = self._call(module["tiles"], 1, result)
            self.scales["tiles"] = operations * threads

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
            schedule = linear_integers.default_schedule(spec, self._target)
            spaces = linear_integers.workspaces(spec, schedule)
            return [aligned((self._threads, space.elements), space.dtype) for space in spaces]
        size = linear.default_schedule(spec, self._target).workspace(spec)
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
        stored = {"bits": case.bits, "group": case.group, "x_bits": case.x_bits}
        return linear_integers.Spec(**values, **stored)
    return linear.Spec(**values)


def _weight(case: Case, spec: Any) -> list[np.ndarray]:
    """The stored tensors of a weight."""
    if not case.bits:
        shape = panel_shape(case.columns, case.depth, spec.weight.pack)
        return [aligned(shape, spec.weight.dtype)]
    panels = case.columns // PANEL_ROWS
    codes = aligned((panels, case.depth // spec.line, PANEL_ROWS, 2), "uint16")
    return [codes, aligned((panels, case.depth // case.group, PANEL_ROWS), "uint16")]
