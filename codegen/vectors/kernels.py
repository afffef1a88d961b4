"""One vector for each kernel that a module calls."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from xdsl.dialects.builtin import BFloat16Type, IntegerType, ModuleOp, TensorType
from xdsl.interpreter import Interpreter
from xdsl.ir import Attribute, Operation, SSAValue

from sala_compile.codegen.layouts.encodings import part_name
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.lowering import Lowered
from sala_compile.codegen.vectors.batch import SPARE_ROWS, VectorBatch, long_batch, short_batch
from sala_compile.codegen.vectors.inputs import Inputs
from sala_compile.codegen.vectors.pools import Pools, write_pools
from sala_compile.codegen.vectors.tensors import TensorStore
from sala_compile.codegen.vectors.tolerance import tolerance
from sala_compile.codegen.weights.weight_table import WeightTable
from sala_compile.passes.support.kernel_choice import KernelChoice, base_and_start
from sala_compile.runtime.artifact import (
    KernelVector,
    LiteralArgument,
    OutputArgument,
    ScratchArgument,
    StoredArgument,
    ThreadsArgument,
    WeightArgument,
)
from sala_compile.runtime.artifact.golden import Argument, GoldenType
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect.base import SalaOp, state_updates
from sala_compile.sala_ir.dialect.stages import SelectBlocksOp
from sala_compile.sala_ir.dialect.types import (
    CompressedKeysType,
    KvCacheType,
    StateType,
    WeightType,
)
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr
from sala_compile.sala_ir.dialect.weights import PackWeightOp
from sala_compile.sala_ir.interpreter import Numerics, RowSource, SalaFunctions
from sala_compile.sala_ir.reference import Rounding

DEFAULT_BLOCK = 64
COARSE_WINDOW = 8
"""Strides in a coarse window."""
BLOCKS_BEYOND = 3
"""Blocks beyond the budget and the first ones that a selection has to choose from."""


def kernel_vectors(
    lowered: Lowered, weights: WeightTable, source: RowSource, store: TensorStore
) -> Iterator[KernelVector]:
    """A vector for every distinct kernel of a target, in order."""
    maker = VectorMaker(lowered.operations, weights, source, store)
    seen: set[str] = set()
    for op in lowered.operations.walk():
        choice = lowered.choices.get(op)
        if isinstance(op, SalaOp) and choice is not None and choice.symbol not in seen:
            seen.add(choice.symbol)
            yield maker.vector(op, choice, lowered.name, seed=len(seen))


class VectorMaker:
    """Runs single operations on the reference and lays out what goes in and comes out."""

    def __init__(
        self,
        operations: ModuleOp,
        weights: WeightTable,
        source: RowSource,
        store: TensorStore,
    ) -> None:
        self._weights = weights
        self._store = store
        self._interpreter = Interpreter(operations)
        numerics = Numerics(Rounding.ROUNDED)
        self._interpreter.register_implementations(SalaFunctions(source, numerics))
        self._batches = _Batches(operations)

    def vector(self, op: SalaOp, choice: KernelChoice, target: str, *, seed: int) -> KernelVector:
        """The vector of one operation and the kernel chosen for it."""
        batch = self._batches.of(op)
        inputs = Inputs(op, batch, seed)
        operands = [self._operand(operand, inputs) for operand in op.operands]
        results = self._interpreter.run_op(op, tuple(operands))
        _require_finite(results, f"{op.name.removeprefix('sala.')}: {choice.symbol}")
        call = _Call(
            self, op, choice, batch, inputs, operands, results, f"{target}/{choice.symbol}"
        )
        arguments = tuple(call.argument(text) for text in choice.arguments)
        return KernelVector(
            name=f"{op.name.removeprefix('sala.')}: {choice.symbol}",
            kernel=choice.symbol,
            target=target,
            arguments=arguments,
        )

    def _operand(self, operand: SSAValue, inputs: Inputs) -> Any:
        if isinstance(operand.type, WeightType):
            return self._weight(operand)
        return inputs.value(operand)

    def _weight(self, value: SSAValue) -> Any:
        op = value.owner
        assert isinstance(op, Operation), "a weight is made by an operation"
        parts = tuple(self._weight(operand) for operand in op.operands)
        return self._interpreter.run_op(op, parts)[0]

    def store(self, name: str, values: np.ndarray, dtype: GoldenType) -> str:
        """Keep a tensor."""
        return self._store.add(name, values, dtype)

    def weight_name(self, value: SSAValue, choice: KernelChoice, index: int) -> str:
        """The stored weight that a kernel reads as operand `index` of its operation."""
        layout = choice.weight_layouts.get(index)
        if not isinstance(layout, LayoutAttr):
            return self._weights.name_of(value)
        pack = PackWeightOp(value, layout)
        name = self._weights.name_of(pack.result)
        pack.erase()
        return name


def _require_finite(results: Sequence[Any], where: str) -> None:
    """Refuse to write down as right what no kernel could be held to."""
    states = (r.values() if isinstance(r, Mapping) else (r,) for r in results)
    parts = (p for state in states for value in state for p in _arrays(value))
    if not all(np.isfinite(part).all() for part in parts):
        raise CompileError(
            "the reference computes values that are not finite numbers",
            where=where,
            expected="weights for which ordinary inputs give finite numbers",
            fix="look for weights that are NaN, infinite or very large in the layers that use it",
        )


def _arrays(value: Any) -> Sequence[np.ndarray]:
    return [np.asarray(part) for part in (value if isinstance(value, tuple) else (value,))]


class _Batches:
    """The batches for a module: beyond the budget for what selects, short for the rest."""

    def __init__(self, operations: ModuleOp) -> None:
        selections = [op for op in operations.walk() if isinstance(op, SelectBlocksOp)]
        blocks, dense_len = BLOCKS_BEYOND, 0
        if selections:
            selection = selections[0].selection.data
            blocks += selection.budget + selection.init_blocks
            dense_len = selection.dense_len
        self._blocks, self._dense_len = blocks, dense_len

    def of(self, op: SalaOp) -> VectorBatch:
        """The batch for an operation."""
        block_size, window = _sizes(op)
        if op.name in ("sala.select_blocks", "sala.attend_blocks"):
            return long_batch(block_size, self._blocks, self._dense_len)
        return short_batch(block_size, window)


def _sizes(op: SalaOp) -> tuple[int, int]:
    """Tokens of a page, and of the longest window that the operation's states know."""
    block_size, window = DEFAULT_BLOCK, 0
    for operand in op.operands:
        kind = operand.type
        if isinstance(kind, KvCacheType | CompressedKeysType):
            block_size = kind.block_size.data
        if isinstance(kind, CompressedKeysType):
            window = COARSE_WINDOW * kind.kernel_stride.data
    return block_size, window or block_size


class _Call:
    """The arguments of one kernel call."""

    def __init__(
        self,
        maker: VectorMaker,
        op: SalaOp,
        choice: KernelChoice,
        batch: VectorBatch,
        inputs: Inputs,
        operands: list[Any],
        results: tuple[Any, ...],
        name: str,
    ) -> None:
        self._maker, self._op, self._choice = maker, op, choice
        self._batch, self._inputs, self._name = batch, inputs, name
        self._operands, self._results = operands, results
        self._pools: dict[int, tuple[Pools, Pools | None]] = {}

    def argument(self, text: str) -> Argument:
        """One argument of the kernel."""
        kind, _, rest = text.partition(":")
        position, _, suffix = rest.partition(".")
        match kind:
            case "control":
                return ThreadsArgument(values=self._batch.control())
            case "batch":
                return self._field(rest)
            case "workspace":
                return self._scratch(int(position))
            case "out":
                return self._output(int(position))
        return self._input(self._choice.operands[int(position)], suffix, text)

    def _field(self, name: str) -> Argument:
        if name == "tokens":
            index = next(i for i, o in enumerate(self._op.operands) if _is_ids(o.type))
            padding = np.full(SPARE_ROWS, -1, np.int32)
            return _literal(np.concatenate([self._operands[index], padding]))
        return _literal(self._batch.field(name))

    def _scratch(self, index: int) -> Argument:
        scratch = self._choice.workspaces[index]
        columns = scratch.elements + scratch.elements_per_page * self._batch.sequence_pages
        return ScratchArgument(dtype=cast(GoldenType, scratch.dtype), columns=columns)

    def _input(self, index: int, suffix: str, text: str) -> Argument:
        operand = self._op.operands[index]
        if isinstance(operand.type, WeightType):
            name = self._maker.weight_name(operand, self._choice, index)
            return WeightArgument(tensor=part_name(name, suffix))
        if isinstance(operand.type, StateType):
            return self._pool(index, suffix, text)
        base, _ = base_and_start(operand)
        values = self._inputs.bases[base] if base in self._inputs.bases else self._operands[index]
        kind = cast(TensorType, base.type)
        return self._stored(text, _with_spare_rows(values, kind), _golden_type(kind))

    def _pool(self, index: int, suffix: str, text: str) -> Argument:
        operand = self._op.operands[index]
        kind = cast(StateType, operand.type)
        if index not in self._pools:
            self._pools[index] = self._pool_values(index, kind)
        before, after = self._pools[index]
        dtype = _golden_type(kind)
        initial = self._stored(f"{text}.before", before[suffix], dtype)
        if after is None:
            return initial
        allowed = tolerance(after[suffix], rounds=dtype == "bfloat16")
        return OutputArgument(
            dtype=dtype,
            shape=before[suffix].shape,
            initial=initial,
            expected=self._maker.store(f"{self._name}/{text}", after[suffix], dtype),
            absolute=allowed.absolute,
            relative=allowed.relative,
        )

    def _pool_values(self, index: int, kind: StateType) -> tuple[Pools, Pools | None]:
        before = write_pools(kind, self._operands[index], self._batch)
        new = {old: new for new, old in state_updates(self._op).items()}
        result = new.get(self._op.operands[index])
        if result is None:
            return before, None
        state = self._results[list(self._op.results).index(result)]
        return before, write_pools(kind, state, self._batch)

    def _output(self, index: int) -> Argument:
        kind = cast(TensorType, self._op.results[index].type)
        dtype = _golden_type(kind)
        expected = np.asarray(self._results[index])
        is_integer = dtype == "int32"
        columns = kind.get_shape()[1:]
        pitch = columns if is_integer else (*columns[:-1], padded(columns[-1]))
        allowed = tolerance(expected, rounds=self._rounds())
        return OutputArgument(
            dtype=dtype,
            shape=(expected.shape[0] + SPARE_ROWS, *pitch),
            expected=self._maker.store(f"{self._name}/out:{index}", expected, dtype),
            absolute=0.0 if is_integer else allowed.absolute,
            relative=0.0 if is_integer else allowed.relative,
        )

    def _rounds(self) -> bool:
        kinds = [value.type for value in (*self._op.operands, *self._op.results)]
        elements = [getattr(kind, "element_type", None) for kind in kinds]
        return any(isinstance(element, BFloat16Type) for element in elements)

    def _stored(self, text: str, values: np.ndarray, dtype: GoldenType) -> StoredArgument:
        name = f"{self._name}/{text}"
        return StoredArgument(tensor=self._maker.store(name, values, dtype))


def _literal(values: np.ndarray) -> LiteralArgument:
    flat = tuple(int(value) for value in values.reshape(-1))
    return LiteralArgument(dtype="int32", shape=values.shape, values=flat)


def _is_ids(kind: Attribute) -> bool:
    return isinstance(kind, TensorType) and isinstance(kind.element_type, IntegerType)


def _golden_type(kind: Any) -> GoldenType:
    if isinstance(kind.element_type, BFloat16Type):
        return "bfloat16"
    return "int32" if isinstance(kind.element_type, IntegerType) else "float32"


def _with_spare_rows(values: np.ndarray, kind: TensorType) -> np.ndarray:
    """The whole buffer: zeros in the pad columns, NaN (or -1) in the rows behind the live ones."""
    if _is_ids(kind):
        spare = np.full((SPARE_ROWS, *values.shape[1:]), -1, np.int32)
        return np.concatenate([values, spare])
    missing = padded(values.shape[1]) - values.shape[1]
    wide = np.pad(values, [(0, 0), (0, missing)])
    return np.concatenate([wide, np.full((SPARE_ROWS, wide.shape[1]), np.nan)])
