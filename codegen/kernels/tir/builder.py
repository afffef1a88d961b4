"""Building a PrimFunc in plain Python: tensors, registers, loops and branches that emit TIR.

Everything here works inside `kernel(...)`: Python runs once and emits TIR. A Python `for`
therefore unrolls, `loop` makes a loop in the kernel; a Python function that emits statements is a
macro. README.md next to this file shows the pattern.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, present
from sala_compile.codegen.kernels.tir.ir import T, ir_builder, tirx
from sala_compile.codegen.targets.cpu import REQUIRED_INSTRUCTIONS, CpuTarget

LANES = 16
"""Floats in a vector."""

STACK_VECTORS = 8
"""Vectors of one allocation: from 1 KiB on TVM takes memory from its pool, never a register."""

ON_STACK = "global"
"""The scope of small buffers: TVM takes those of "local" from its pool at any size."""

CONTROL_WORDS = 16
ALIGNMENT = 64

Expr = Any
"""A TIR expression, or a Python number where one is expected."""


@dataclass(slots=True)
class KernelBuilder:
    """A PrimFunc under construction: declares the parameters in the order of the calls."""

    symbol: str
    target: CpuTarget
    function: Any = None
    declared: dict[str, "Tensor"] = field(default_factory=dict)
    _capacities: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @property
    def tensors(self) -> "Tensors":
        """The arguments that were declared."""
        return Tensors(self.declared)

    def capacity(self, name: str) -> Expr:
        """Return the symbolic extent `name` (int64), bound by the first tensor that has it."""
        return self._capacities.setdefault(name, tirx.Var(name, "int64"))

    def tensor(self, name: str, shape: Sequence[Expr | str], dtype: str) -> "Tensor":
        """Declare the next parameter; a dimension that is a string is a symbolic capacity."""
        handle = T.arg(f"{name}_handle", T.handle())
        extents = [self.capacity(d) if isinstance(d, str) else long(d) for d in shape]
        buffer = T.match_buffer(handle, extents, dtype, align=ALIGNMENT)
        ir_builder.IRBuilder.name(name, buffer)
        return Tensor(buffer)

    def require(self, *flags: str) -> None:
        """Note instructions (flags of /proc/cpuinfo) that not every kernel of the target uses."""
        self.required += flags

    def control(self) -> "Control":
        """Declare the control tensor as the next parameter."""
        return Control(self.tensor("control", (CONTROL_WORDS,), "int32"))


@dataclass(frozen=True, slots=True)
class Tensor:
    """A buffer that reads with `t[i, lanes(j)]` and writes with `t[i, lanes(j)] = value`."""

    buffer: Any

    def __getitem__(self, indices: Any) -> Expr:
        """Return the element, or the vector if the last index is `lanes(...)`."""
        return self.buffer[_indices(indices)]

    def __setitem__(self, indices: Any, value: Expr) -> None:
        """Emit a store."""
        T.buffer_store(self.buffer, value, _indices(indices))

    def address(self, *indices: Expr) -> Expr:
        """Return the address of an element, for shims that take a pointer."""
        return T.address_of(self.buffer[_indices(indices)])


@dataclass(frozen=True, slots=True)
class Tensors:
    """The arguments of a kernel by their names, as attributes; `find` gives None for an absent one.

    An argument that is not there is an AttributeError.
    """

    by_name: Mapping[str, Tensor]

    def __getattr__(self, name: str) -> Tensor:
        """The tensor with this name."""
        found = self.by_name.get(name)
        if found is None:
            raise AttributeError(f"the kernel has no argument {name!r}")
        return found

    def find(self, name: str) -> Tensor | None:
        """The tensor with this name, if there is one."""
        return self.by_name.get(name)

    @property
    def control(self) -> "Control":
        """The live sizes of the step."""
        return Control(self.by_name["control"])


@dataclass(frozen=True, slots=True)
class Control:
    """The live sizes of a step."""

    tensor: Tensor

    @property
    def tokens(self) -> Expr:
        """New tokens in the step (int32)."""
        return self.tensor[0]

    @property
    def sequences(self) -> Expr:
        """Sequences in the step (int32)."""
        return self.tensor[1]

    @property
    def logit_rows(self) -> Expr:
        """Rows whose logits are requested (int32)."""
        return self.tensor[2]

    @property
    def workers(self) -> Expr:
        """Threads that a kernel may use (int32)."""
        return self.tensor[3]


@dataclass(frozen=True, slots=True)
class Registers:
    """Vectors of 16 that LLVM keeps in registers: `r[i]` reads, `r[i] = value` writes.

    Indices are Python integers; an index known only at run time would force them to memory.
    """

    buffers: tuple[Any, ...]

    def __getitem__(self, index: int) -> Expr:
        """Return vector `index`."""
        buffer, place = self._place(index)
        return buffer[place]

    def __setitem__(self, index: int, value: Expr) -> None:
        """Emit an assignment to vector `index`."""
        buffer, place = self._place(index)
        T.buffer_store(buffer, value, [place])

    def _place(self, index: int) -> tuple[Any, Expr]:
        turn, vector = divmod(index, STACK_VECTORS)
        return self.buffers[turn], T.ramp(vector * LANES, 1, LANES)

    def fill(self, count: int, value: float = 0.0) -> "Registers":
        """Emit assignments of one constant to the first `count` vectors; return self."""
        for index in range(count):
            self[index] = splat(value)
        return self


@contextmanager
def kernel(symbol: str, target: CpuTarget, arguments: Arguments = ()) -> Iterator[KernelBuilder]:
    """Build one PrimFunc with these parameters; after the block it is the builder's `function`.

    No two parameters are the same memory.
    """
    builder = KernelBuilder(symbol, target)
    with ir_builder.IRBuilder() as ir, T.prim_func(s_tir=True):
        T.func_name(symbol)
        T.func_attr({"global_symbol": symbol, "tirx.noalias": True})
        for each in present(arguments):
            builder.declared[each.name] = builder.tensor(each.name, each.shape, each.dtype)
        yield builder
    function: Any = ir.get()
    if builder.required:
        function = function.with_attr(REQUIRED_INSTRUCTIONS, " ".join(builder.required))
    builder.function = function


def registers(count: int, dtype: str = "float32") -> Registers:
    """Return `count` vectors of 16, uninitialised."""
    sizes = [min(STACK_VECTORS, count - first) for first in range(0, count, STACK_VECTORS)]
    return Registers(
        tuple(T.alloc_buffer((size * LANES,), dtype, scope=ON_STACK) for size in sizes)
    )


def scratch(shape: Sequence[int], dtype: str = "float32") -> Tensor:
    """Return a small buffer of the worker: on its stack below 1 KiB."""
    return Tensor(T.alloc_buffer(tuple(shape), dtype, scope=ON_STACK, align=ALIGNMENT))


def scalar(value: Expr, dtype: str = "float32") -> Tensor:
    """Return a mutable scalar: read and write it as `s[0]`."""
    cell = Tensor(T.alloc_buffer((1,), dtype, scope=ON_STACK))
    cell[0] = value
    return cell


def let(value: Expr) -> Expr:
    """Name a value: it is computed once, here."""
    return T.Bind(value)


def held(value: Expr, dtype: str = "int32") -> Expr:
    """Name a value that the compiler may not insert at each use, as it does with `let`.

    For sizes and places that build on each other: inserted, they grow with every level.
    """
    return scalar(value, dtype)[0]


def long(value: Expr) -> Expr:
    """Return an index as int64, the type of all index arithmetic."""
    if isinstance(value, int):
        return tirx.IntImm("int64", value)
    return value if str(value.ty.dtype) == "int64" else T.Cast("int64", value)


def lanes(start: Expr, count: int = LANES) -> Expr:
    """Return the indices start .. start + count - 1 of a vector access."""
    return T.ramp(long(start), 1, count)


def splat(value: Expr, count: int = LANES) -> Expr:
    """Return a vector of one value; a Python float becomes float32."""
    if isinstance(value, (int, float)):
        value = T.float32(value)
    return T.broadcast(value, count)


@contextmanager
def loop(extent: Expr, start: Expr = 0) -> Iterator[Expr]:
    """Emit a serial loop over start .. extent - 1 and yield its variable."""
    with T.serial(start, extent) as variable:
        yield variable


@contextmanager
def when(condition: Expr) -> Iterator[None]:
    """Emit a branch without an alternative."""
    with T.If(condition), T.Then():
        yield


def choose(condition: Expr, yes: Callable[[], None], no: Callable[[], None]) -> None:
    """Emit a branch whose two sides are emitted by the two functions."""
    with T.If(condition):
        with T.Then():
            yes()
        with T.Else():
            no()


def prefetch(tensor: Tensor, *indices: Expr) -> None:
    """Emit a prefetch of the line that holds an element; the address may lie outside."""
    T.evaluate(T.call_extern("void", "sala_prefetch", tensor.address(*indices)))


def prefetch_far(tensor: Tensor, *indices: Expr) -> None:
    """Emit a prefetch into the second level, for a line that is needed much later."""
    T.evaluate(T.call_extern("void", "sala_prefetch_far", tensor.address(*indices)))


def address_of(tensor: Tensor, *indices: Expr) -> Expr:
    """Return the address of an element as a number (int64), to choose and to count on from."""
    return T.call_extern("int64", "sala_address", tensor.address(*indices))


def prefetch_at(address: Expr, *, far: bool) -> None:
    """Emit a prefetch of the line at an address, into the nearest or the second level."""
    name = "sala_prefetch_far_at" if far else "sala_prefetch_at"
    T.evaluate(T.call_extern("void", name, address))


def _indices(indices: Any) -> list[Expr]:
    if not isinstance(indices, tuple):
        indices = (indices,)
    return [index if isinstance(index, tirx.Ramp) else long(index) for index in indices]
