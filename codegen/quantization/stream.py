"""GPTQ over a whole model, layer by layer, while its checkpoint streams by.

The captured step runs once on the calibration text, operation by operation on the reference in
float32. Where a linear is reached whose weight becomes integers, all such linears of the same
input are rounded for that input, an expert for the tokens that chose it; the text continues through
what was stored, so that later layers make up for earlier ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.interpreter import Interpreter
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.progress import Advance
from sala_compile.codegen.quantization.cholesky import damped_cholesky
from sala_compile.codegen.quantization.gptq_rounding import Rounder
from sala_compile.codegen.quantization.integer_files import IntegerStore
from sala_compile.codegen.weights.finite import FiniteRows, all_finite, widest
from sala_compile.passes.support.functions import argument_names
from sala_compile.passes.support.quantization import matrices_of
from sala_compile.runtime.artifact.batch_fields import InputName, PlainChunk
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.checkpoint.rounding_errors import ErrorSums
from sala_compile.sala_ir.dialect import ExpertDownOp, ExpertUpOp, LinearOp, WeightOp
from sala_compile.sala_ir.dialect.base import weight_shape
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.interpreter import (
    Numerics,
    RowSource,
    SalaFunctions,
    WeightValue,
    step_inputs,
)
from sala_compile.sala_ir.interpreter.weight_reference import ReferenceArithmetic
from sala_compile.sala_ir.interpreter.weight_rows import weight_value

ROUNDED_VALUES = 1 << 25
"""Values of a matrix that are rounded at a time."""
_SINGLE = Numerics(dtype=np.float32)
MEASURED_TOKENS = 256
"""Inputs over which the error of a linear's outputs is measured."""


@dataclass(slots=True)
class Quantizer:
    """Rounds the tensors `encodings` of a captured module into `store`.

    Takes memory for the text's activations, and for one matrix [K, K] of the widest linear.
    """

    module: ModuleOp
    source: RowSource
    encodings: Mapping[str, EncodingAttr]
    store: IntegerStore
    activation_order: bool = False
    errors: ErrorSums = field(default_factory=ErrorSums)
    _rounded: int = field(default=0, init=False)

    def run(self, token_ids: Sequence[int], advance: Advance) -> None:
        """Round everything for one text; `advance` receives the number of values that were rounded.

        Raises CheckpointError for weights that are not finite, CompileError where the text's
        activations, or what they do to a weight, are not.
        """
        with np.errstate(all="ignore"):  # what is not finite is reported by name
            self._run(token_ids, advance)

    def _run(self, token_ids: Sequence[int], advance: Advance) -> None:
        self.source = FiniteRows(self.source)
        functions = SalaFunctions(self.source, _SINGLE)
        interpreter = Interpreter(self.module)
        interpreter.register_implementations(functions)
        (step,) = (op for op in self.module.ops if isinstance(op, FuncOp))
        values: dict[SSAValue, Any] = _arguments(step, token_ids)
        uses = _uses(step)
        wanted = sum(name in self.encodings for name in _weights_of(step))
        for op in step.body.block.ops:
            if self._rounded == wanted or isinstance(op, ReturnOp):
                return
            if isinstance(op, LinearOp) and self._name(op) in self.encodings:
                self._round_all(op, values[op.x], advance)
                values[op.weight] = self._stored(op.weight)
            elif isinstance(op, ExpertUpOp | ExpertDownOp):
                self._round_experts(op, values, advance)
            operands = tuple(values[operand] for operand in op.operands)
            results = interpreter.run_op(op, operands)
            values |= zip(op.results, results, strict=True)
            _forget(op, values, uses)

    def _name(self, op: LinearOp) -> str:
        owner = op.weight.owner
        return owner.tensor_name.data if isinstance(owner, WeightOp) else ""

    def _stored(self, weight: SSAValue) -> WeightValue:
        """The values of a weight, all of whose tensors are rounded."""
        assert isinstance(weight.owner, WeightOp), "tensors as they are captured"
        stored = ReferenceArithmetic(_StoredRows(self.store, weight_shape(weight)[1]), _SINGLE)
        return weight_value(weight.owner, (), stored)

    def _round_experts(
        self, op: ExpertUpOp | ExpertDownOp, values: dict[SSAValue, Any], advance: Advance
    ) -> None:
        """Round the experts of an operation, each for the rows that chose it."""
        for matrix in matrices_of(op):
            if not isinstance(matrix.owner, WeightOp):
                continue
            names = list(matrix.owner.tensors)
            if not self.encodings.keys() >= set(names):
                continue
            for expert, name in enumerate(names):
                if name not in self.store:
                    inputs = expert_inputs(op, values, expert)
                    self._round(
                        name, self._rounder(name, inputs), inputs[:MEASURED_TOKENS], advance
                    )
            values[matrix] = self._stored(matrix)

    def _rounder(self, name: str, inputs: np.ndarray) -> Rounder:
        """The rounding of one tensor for its inputs; for none to the nearest."""
        moments, order = self._factor(name, inputs)
        return Rounder(moments, self.encodings[name], order)

    def _round_all(self, op: LinearOp, x: np.ndarray, advance: Advance) -> None:
        """Round the weights of every linear of `x`, unless that was done."""
        readers = [use.operation for use in op.x.uses]
        names = [self._name(user) for user in readers if isinstance(user, LinearOp)]
        due = [name for name in names if name in self.encodings and name not in self.store]
        if not due:
            return
        moments, order = self._factor(due[0], x)
        step = max(1, len(x) // MEASURED_TOKENS)
        for name in due:
            rounder = Rounder(moments, self.encodings[name], order)
            self._round(name, rounder, x[::step], advance)

    def _factor(self, name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The factor of the second moments of inputs, and the order of its columns."""
        moments = x.T @ x
        if not all_finite(np.ascontiguousarray(moments)):
            raise _diverged(name, "the calibration text leads to inputs that are not finite")
        order = None
        if self.activation_order:
            order = np.argsort(np.diagonal(moments), kind="stable")
            moments = moments[np.ix_(order, order)]
        try:
            damped_cholesky(moments)
        except np.linalg.LinAlgError:
            raise _diverged(name, "the inputs of the calibration text span no space") from None
        return moments, order

    def _round(self, name: str, rounder: Rounder, inputs: np.ndarray, advance: Advance) -> None:
        rows, columns = self._shape(name)
        self.store.create(name, (rows, columns), rounder.encoding)
        step = max(1, ROUNDED_VALUES // columns)
        for start in range(0, rows, step):
            weight = self.source.rows(name, start, min(start + step, rows)).astype(np.float32)
            integers, lost = rounder.round(weight)
            if not (np.isfinite(integers.scales).all() and np.isfinite(lost).all()):
                self._refuse(name, weight)
            self.store.write(name, start, integers)
            self.errors.add_weight(name, weight, lost)
            if len(inputs):
                self.errors.add_output(name, inputs @ weight.T, inputs @ lost.T)
            advance(weight.size)
        self._rounded += 1

    def _refuse(self, name: str, weight: np.ndarray) -> None:
        encoding = self.encodings[name]
        largest = float(np.abs(weight).max())
        if largest > widest(encoding):
            raise CompileError(
                f"{name} holds values of {largest:.6g} in size, which integers of {encoding.bits} "
                "bits reach only with a scale that float16 does not hold",
                where=name,
                expected=f"values of at most {widest(encoding):.6g} in size",
                fix="compile without --quantize, or with int8, whose scales are smaller",
            )
        raise _diverged(name, "rounding for the calibration text leaves the range of float16")

    def _shape(self, name: str) -> tuple[int, int]:
        weights = (op for op in self.module.walk() if isinstance(op, WeightOp))
        rows, columns = next(op.tensors[name] for op in weights if name in op.tensors)
        return rows, columns


@dataclass(frozen=True, slots=True)
class _StoredRows:
    """Rows of the values that tensors [.., columns] were rounded to."""

    store: IntegerStore
    columns: int

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of a tensor."""
        return self.store.read(name, start, stop).values(self.columns)


def expert_inputs(
    op: ExpertUpOp | ExpertDownOp, values: Mapping[SSAValue, Any], expert: int
) -> np.ndarray:
    """What an expert multiplies, [rows, K]: of the tokens that chose it, times their gates (down).

    Errors of what experts give count as much as their gates.
    """
    x, (tokens, slots) = values[op.x], np.nonzero(values[op.experts] == expert)
    if isinstance(op, ExpertUpOp):
        return x[tokens]
    depth = weight_shape(op.weight)[1]
    parts = x.reshape(len(x), -1, op.width)[tokens, slots, :depth]
    return parts * values[op.gates][tokens, slots][:, None]


def _diverged(name: str, found: str) -> CompileError:
    return CompileError(
        found,
        where=name,
        expected="a checkpoint and a text with finite activations",
        fix="give another --calibration, or --rounding nearest",
    )


def _weights_of(step: FuncOp) -> list[str]:
    weights = (op for op in step.body.block.ops if isinstance(op, WeightOp))
    return [name for op in weights for name in op.tensors]


def _arguments(step: FuncOp, token_ids: Sequence[int]) -> dict[SSAValue, Any]:
    """One sequence of one call, nothing before it, no logits."""
    given = step_inputs([PlainChunk(token_ids, 0, len(token_ids), 0)])
    given |= {InputName.LOGIT_ROWS: np.zeros(0, np.int32)}
    return {
        argument: {} if isinstance(argument.type, StateType) else given.get(name)
        for argument, name in argument_names(step).items()
    }


def _uses(step: FuncOp) -> Counter[SSAValue]:
    """How often values are read, by anything but the return."""
    block = step.body.block
    operations = (op for op in block.ops if not isinstance(op, ReturnOp))
    return Counter(operand for op in operations for operand in op.operands)


def _forget(op: Operation, values: dict[SSAValue, Any], uses: Counter[SSAValue]) -> None:
    """Drop the values that nobody will read again."""
    for operand in op.operands:
        uses[operand] -= 1
    for value in {*op.operands, *op.results}:
        if uses[value] <= 0:
            values.pop(value, None)
