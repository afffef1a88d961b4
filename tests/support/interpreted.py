"""GPU kernels run by Triton's interpreter on NumPy buffers, as the runtime launches them.

TRITON_INTERPRET stays unset: the functions are interpreted as copies, so that one process can both
compile and interpret them. Every access is checked against the bounds of the buffers.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.jit import JITFunction

from sala_compile.codegen.kernels.triton.kernel import (
    Extent,
    GpuKernel,
    Launch,
    Parameter,
    Pointer,
    Slabs,
)
from sala_compile.codegen.targets.cuda import CudaTarget
from tests.support.bfloat16_interpreter import PATCHES

TARGET = CudaTarget(90)
"""The GPU whose schedules tests take; that of the code where compiled code is executed."""

ALIGNMENT = 16
"""Bytes to which the kernels expect every pointer to be aligned."""

POISON = {"float32": np.float32(np.nan), "uint16": np.uint16(0x7FC0)}
"""Element type -> what is not to be read; bfloat16 as words, integers 0x7f in every byte."""


def poison(buffer: np.ndarray) -> None:
    """Fill a buffer with NaN, integers with large numbers."""
    name = str(buffer.dtype)
    if name in POISON:
        buffer[...] = POISON[name]
    else:
        buffer.view(np.uint8)[...] = 0x7F


def run(
    kernel: GpuKernel,
    buffers: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    *,
    poisoned: Iterable[str] = (),
    backwards: bool = False,
) -> None:
    """Run every launch of a kernel on buffers by parameter name, written in place.

    `sizes` are those of the bucket: tokens, sequences, logit_rows (live sizes stand in the control
    buffer). `poisoned` names buffers to fill with NaN before. `backwards` runs the programs of a
    grid in the opposite order: the result may not depend on it.
    """
    _check_buffers(kernel.parameters, buffers)
    for name in poisoned:
        poison(buffers[name])
    with _interpreting(buffers.values()):
        for step in kernel.launches:
            if isinstance(step, Slabs):
                _run_slabs(step, buffers, sizes, backwards)
            else:
                run_launch(step, buffers, sizes, backwards=backwards)


def _run_slabs(
    slabs: Slabs, buffers: Mapping[str, np.ndarray], sizes: Mapping[str, int], backwards: bool
) -> None:
    total = sizes[slabs.symbol]
    for start in range(0, total, slabs.size):
        inner = {**sizes, slabs.symbol: min(slabs.size, total - start)}
        for launch in slabs.launches:
            run_launch(launch, buffers, inner, slab_start=start, backwards=backwards)


def run_launch(
    launch: Launch,
    buffers: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    *,
    slab_start: int = 0,
    backwards: bool = False,
) -> None:
    """Run every program of one launch; only inside `run`, or where interpretation is set up."""
    values = {
        name: _argument(argument, buffers, slab_start)
        for name, argument in launch.arguments.items()
    }
    function = _interpreted(launch.function).rewrite()
    grid = tuple(axis.size(sizes) for axis in launch.grid)
    builder = interpreter.interpreter_builder
    builder.set_grid_dim(*grid)
    programs = list(product(*map(range, grid)))
    for program in reversed(programs) if backwards else programs:
        builder.set_grid_idx(*program)
        function(**values, **launch.constants)


def _argument(argument: Any, buffers: Mapping[str, np.ndarray], slab_start: int) -> Any:
    if isinstance(argument, Pointer):
        address = buffers[argument.parameter].ctypes.data + argument.byte_offset
        assert address % ALIGNMENT == 0, f"{argument.parameter} is not aligned"
        kind = tl.pointer_type(tl.str_to_ty(argument.element, None))
        return _scalar(np.uint64(address), kind)
    if isinstance(argument, Extent):
        return _scalar(np.int32(buffers[argument.parameter].shape[argument.dim]), tl.int32)
    return _scalar(np.int32(slab_start), tl.int32)


def _scalar(value: Any, kind: Any) -> Any:
    return tl.tensor(interpreter.TensorHandle(np.array([value]), kind), kind)


def _check_buffers(parameters: Iterable[Parameter], buffers: Mapping[str, np.ndarray]) -> None:
    capacities: dict[str, int] = {}
    names = [parameter.name for parameter in parameters]
    assert sorted(names) == sorted(buffers), f"the kernel takes {names}, not {list(buffers)}"
    for parameter in parameters:
        buffer = buffers[parameter.name]
        assert str(buffer.dtype) == parameter.dtype, f"{parameter.name} is {buffer.dtype}"
        assert buffer.flags.c_contiguous, f"{parameter.name} is not contiguous"
        expected = tuple(
            capacities.setdefault(dim, size) if isinstance(dim, str) else dim
            for dim, size in zip(parameter.shape, buffer.shape, strict=True)
        )
        assert buffer.shape == expected, f"{parameter.name} is {buffer.shape}, not {expected}"


_namespaces: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
_functions: dict[Any, Any] = {}


def _interpreted(function: JITFunction) -> Any:
    """The function for the interpreter: a copy whose globals are copies too."""
    original = function.fn
    if original not in _functions:
        namespace = _namespace(original.__globals__)
        copy = FunctionType(
            original.__code__,
            namespace,
            original.__name__,
            original.__defaults__,
            original.__closure__,
        )
        copy.__kwdefaults__ = original.__kwdefaults__
        copy.__module__ = original.__module__
        _functions[original] = _Function(copy)
    return _functions[original]


class _Function(interpreter.InterpretedFunction):
    """A function that is called where the language is interpreted already."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call it without patching the language again, which costs more than most functions."""
        return self.rewrite()(*args, **options)


def _namespace(names: dict[str, Any]) -> dict[str, Any]:
    """A copy of the globals of a module, its Triton functions interpreted."""
    if id(names) not in _namespaces:
        _namespaces[id(names)] = (names, dict(names))
        copy = _namespaces[id(names)][1]
        for name, value in names.items():
            if isinstance(value, JITFunction):
                copy[name] = _interpreted(value)
    return _namespaces[id(names)][1]


@contextmanager
def _interpreting(buffers: Iterable[np.ndarray]) -> Iterator[None]:
    """Triton's language interpreted, and as it was afterwards."""
    language = SimpleNamespace(__globals__={"tl": tl, "core": tl.core})
    scope = interpreter._patch_lang(language)
    try:
        for module in (tl, tl.core, tl.standard, tl.math, tl.random):
            for name, value in vars(module).copy().items():
                if isinstance(value, JITFunction):
                    scope.set_attr(module, name, _interpreted(value))
        for name, value in vars(tl.tensor).copy().items():
            if isinstance(value, JITFunction):
                scope.set_attr(tl.tensor, name, _method(_interpreted(value)))
        for owner, name, value in (*PATCHES, *_Bounds(buffers).patches()):
            scope.set_attr(owner, name, value)
        builder = interpreter.interpreter_builder
        unchecked = replace(builder.options, sanitize_overflow=False)
        scope.set_attr(builder, "options", unchecked)
        yield
    finally:
        scope.restore()


def _method(function: Any) -> Any:
    return lambda *args, **options: function(*args, **options)


class _Bounds:
    """Where the buffers are: an access elsewhere is an IndexError, not a crash."""

    def __init__(self, buffers: Iterable[np.ndarray]) -> None:
        spans = sorted((each.ctypes.data, each.ctypes.data + each.nbytes) for each in buffers)
        self.starts = [start for start, _ in spans]
        self.ends = [end for _, end in spans]

    def patches(self) -> Iterator[tuple[Any, str, Any]]:
        """The accesses of the interpreter, checked."""
        builder = interpreter.InterpreterBuilder
        load, store = builder.create_masked_load, builder.create_masked_store
        update = builder.create_atomic_rmw

        def checked_load(owner: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
            self.check(pointers, mask)
            return load(owner, pointers, mask, *rest)

        def checked_store(owner: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
            self.check(pointers, mask)
            return store(owner, pointers, value, mask, *rest)

        def checked_update(
            owner: Any, kind: Any, pointers: Any, value: Any, mask: Any, *rest: Any
        ) -> Any:
            self.check(pointers, mask)
            return update(owner, kind, pointers, value, mask, *rest)

        yield builder, "create_masked_load", checked_load
        yield builder, "create_masked_store", checked_store
        yield builder, "create_atomic_rmw", checked_update

    def check(self, pointers: Any, mask: Any) -> None:
        """Raise IndexError where an address that the mask lets through is in no buffer."""
        live = pointers.data[np.broadcast_to(mask.data, pointers.data.shape)]
        if not live.size:
            return
        size = pointers.get_element_ty().primitive_bitwidth // 8
        first, last = int(live.min()), int(live.max()) + size
        if last <= self._end(first):
            return
        for address in map(int, np.unique(live)):
            if address + size > self._end(address):
                raise IndexError(f"an access of {size} bytes at {self._place(address)}")

    def _end(self, address: int) -> int:
        index = bisect_right(self.starts, address) - 1
        return self.ends[index] if index >= 0 else 0

    def _place(self, address: int) -> str:
        index = max(bisect_right(self.starts, address) - 1, 0)
        return f"byte {address - self.starts[index]} of {self.ends[index] - self.starts[index]}"


def run_code(
    function: JITFunction,
    grid: tuple[int, int, int],
    arguments: Mapping[str, tuple[str, int]],
    constants: Mapping[str, Any],
    memory: Iterable[np.ndarray],
) -> None:
    """Run every program of a launch as a driver gets it: values with Triton's types by name.

    Addresses are those of host memory and have to lie in one of the arrays `memory`.
    """
    values = {name: _typed(kind, value) for name, (kind, value) in arguments.items()}
    with _interpreting(memory):
        interpreted = _interpreted(function).rewrite()
        interpreter.interpreter_builder.set_grid_dim(*grid)
        for program in product(*map(range, grid)):
            interpreter.interpreter_builder.set_grid_idx(*program)
            interpreted(**values, **constants)


def _typed(kind: str, value: int) -> Any:
    if kind.startswith("*"):
        return _scalar(np.uint64(value), tl.pointer_type(tl.str_to_ty(kind[1:], None)))
    return _scalar(np.int32(value), tl.int32)
