"""A captured step taken apart: what comes before the layers, each layer's mixer, and the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from sala_compile.sala_ir.dialect import LogitsOp, ResidualAddOp, RmsNormOp, SalaOp, StateType
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from sala_compile.sala_ir.interpreter.reference_model import argument_names


@dataclass(frozen=True, slots=True)
class LayerParts:
    """The operations of a layer in order, and the values between them.

    `stream` enters, `before` gives `normal`, `mixer` makes `branch` of it, and `after` makes
    `result`, the stream that leaves, of `stream` and `branch`.
    """

    before: tuple[Operation, ...]
    mixer: tuple[Operation, ...]
    after: tuple[Operation, ...]
    stream: SSAValue
    normal: SSAValue
    branch: SSAValue
    result: SSAValue


@dataclass(frozen=True, slots=True)
class DecoderParts:
    """The whole step: `arguments` by name, operations before and after the layers, the layers.

    `stream` is what enters layer 0; `final` what `logits` reads.
    """

    tensors: Mapping[str, tuple[int, ...]]
    arguments: Mapping[str, SSAValue]
    states: frozenset[str]
    prelude: tuple[Operation, ...]
    layers: tuple[LayerParts, ...]
    tail: tuple[Operation, ...]
    stream: SSAValue
    final: SSAValue
    logits: LogitsOp

    @classmethod
    def of(
        cls, config: Mapping[str, Any], attention: AttentionMode = AttentionMode.DENSE
    ) -> "DecoderParts":
        """The parts of the model of a config.json; ConfigError where the frontend refuses it."""
        frontend = frontend_for(config)
        parsed = frontend.parse_config(config)
        module = frontend.build_module(parsed, attention)
        return cls.of_module(module, frontend.expected_tensors(parsed))

    @classmethod
    def of_module(cls, module: ModuleOp, tensors: Mapping[str, tuple[int, ...]]) -> "DecoderParts":
        """The parts of a module with one function, `step`, whose layers stand in order."""
        (step,) = (op for op in module.ops if isinstance(op, FuncOp))
        block = step.body.block
        names = argument_names(step)
        arguments = dict(zip(names, block.args, strict=True))
        states = (name for name, arg in arguments.items() if isinstance(arg.type, StateType))
        ops = [op for op in block.ops if not isinstance(op, ReturnOp)]
        marks = [op.layer if isinstance(op, SalaOp) else None for op in ops]
        count = 1 + max(mark for mark in marks if mark is not None)
        first = marks.index(0)
        last = len(marks) - 1 - marks[::-1].index(count - 1)
        layers = [
            _layer([op for op, mark in zip(ops, marks, strict=True) if mark == n])
            for n in range(count)
        ]
        (logits,) = (op for op in ops if isinstance(op, LogitsOp))
        tail = tuple(op for op in ops[last + 1 :] if op is not logits)
        return cls(
            tensors,
            arguments,
            frozenset(states),
            tuple(ops[:first]),
            tuple(layers),
            tail,
            layers[0].stream,
            logits.h,
            logits,
        )


def _layer(ops: Sequence[Operation]) -> LayerParts:
    """Norm, mixer, first residual sum, and all the rest."""
    norm = next(index for index, op in enumerate(ops) if isinstance(op, RmsNormOp))
    sums = [index for index, op in enumerate(ops) if isinstance(op, ResidualAddOp)]
    first, result = ops[sums[0]], ops[sums[-1]]
    assert isinstance(first, ResidualAddOp), "a layer is norm, mixer, sum, norm, MLP, sum"
    return LayerParts(
        tuple(ops[: norm + 1]),
        tuple(ops[norm + 1 : sums[0]]),
        tuple(ops[sums[0] :]),
        first.h,
        ops[norm].results[0],
        first.x,
        result.results[0],
    )
