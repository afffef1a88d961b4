"""GPTQ over a whole model, layer by layer, while its checkpoint streams by.

The captured step runs once on the calibration text, operation by operation on the reference in
float32. Where a linear is reached whose weight becomes integers, all such linears of the same
input are rounded for that input; the text continues through what was stored, so that later layers
make up for earlier ones.
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
from sala_compile.runtime.artifact.batch_fields import InputName, PlainChunk
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.checkpoint.rounding_errors import ErrorSums
from sala_compile.sala_ir.dialect import LinearOp, WeightOp
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

ROUNDED_VALUES = 1 << 25
"""Values of a matrix that are rounded at a time."""
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
        functions = SalaFunctions(self.source, Numerics(dtype=np.float32))
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
                values[op.weight] = self._stored(op)
            operands = tuple(values[operand] for operand in op.operands)
            results = interpreter.run_op(op, operands)
            values |= zip(op.results, results, strict=True)
            _forget(op, values, uses)

    def _name(self, op: LinearOp) -> str:
        owner = op.weight.owner
        return owner.tensor_name.data if isinstance(owner, WeightOp) else ""

    def _stored(self, op: LinearOp) -> WeightValue:
        name, (rows, columns) = self._name(op), weight_shape(op.weight)
        return WeightValue(
            (rows, columns), lambda start, stop: self.store.read(name, start, stop).values(columns)
        )

    def _round_all(self, op: LinearOp, x: np.ndarray, advance: Advance) -> None:
        """Round the weights of every linear of `x`, unless that was done."""
        readers = [use.operation for use in op.x.uses]
        names = [self._name(user) for user in readers if isinstance(user, LinearOp)]
        due = [name for name in names if name in self.encodings and name not in self.store]
        if not due:
            return
        moments = x.T @ x
        if not all_finite(np.ascontiguousarray(moments)):
            raise _diverged(due[0], "the calibration text leads to inputs that are not finite")
        order = None
        if self.activation_order:
            order = np.argsort(np.diagonal(moments), kind="stable")
            moments = moments[np.ix_(order, order)]
        try:
            damped_cholesky(moments)
        except np.linalg.LinAlgError:
            raise _diverged(due[0], "the inputs of the calibration text span no space") from None
        step = max(1, len(x) // MEASURED_TOKENS)
        for name in due:
            rounder = Rounder(moments, self.encodings[name], order)
            self._round(name, rounder, x[::step], advance)

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
        rows, columns = next(
            weight_shape(op.result) for op in weights if op.tensor_name.data == name
        )
        return rows, columns


def _diverged(name: str, found: str) -> CompileError:
    return CompileError(
        found,
        where=name,
        expected="a checkpoint and a text with finite activations",
        fix="give another --calibration, or --rounding nearest",
    )


def _weights_of(step: FuncOp) -> list[str]:
    return [op.tensor_name.data for op in step.body.block.ops if isinstance(op, WeightOp)]


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
