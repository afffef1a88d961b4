"""A module as a model: sequences go in, logits come out, states are kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, overload

import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.interpreter import Interpreter
from xdsl.interpreters.func import FuncFunctions

from sala_compile.runtime.artifact.batch_fields import (
    BatchChunk,
    InputName,
    PlainChunk,
    batch_arrays,
)
from sala_compile.runtime.errors import RequestError
from sala_compile.sala_ir.dialect import StateType
from sala_compile.sala_ir.interpreter.numerics import Numerics
from sala_compile.sala_ir.interpreter.op_functions import SalaFunctions
from sala_compile.sala_ir.interpreter.weight_rows import Weights, row_source
from sala_compile.sala_ir.reference import LightningForm, Rounding
from sala_compile.sala_ir.reference.arrays import Array

Observed = dict[str, dict[int | None, Any]]
"""Kind -> layer -> value over all new tokens; the residual stream before layer 0 is under None."""

OBSERVABLE = ("selected_blocks", "blocks_read", "selected_pools", "experts", "hidden")
"""The inner values that can be observed."""

Rows = Literal["all", "last"]
"""The new tokens of a sequence after which logits are requested."""


@dataclass(frozen=True, slots=True)
class NewTokens:
    """New tokens of the sequence in `slot`.

    `call_length` is its length when the whole call is done; by default the call ends here.
    `rows` are the new tokens, counted from 0, whose logits are wanted; by default all.
    """

    slot: int
    tokens: Sequence[int]
    call_length: int | None = None
    rows: Sequence[int] | None = None


@dataclass
class ReferenceModel:
    """Runs a module on the reference functions and keeps the states of its sequences.

    `weights` gives tensors by their names in the checkpoint: a `Checkpoint`, a mapping, or a
    function. The module has the function `step`, or `prefill`, `decode` and `logits`. A sequence
    is named by a slot, any integer. Values are those of `namespace`, computed in `dtype`. The first
    `wide_rows` rows of a step stay as they are where the module rounds activations to integers; of
    a step of several `copies` of the same sequences the first is not rounded at all.
    `listeners` are called after every operation.
    """

    module: ModuleOp
    weights: Weights
    rounding: Rounding = Rounding.EXACT
    namespace: ModuleType = array_api_compat.numpy
    dtype: Any = None
    device: Any = None
    lightning: LightningForm = LightningForm.CHUNKED
    wide_rows: int = 0
    copies: int = 1
    listeners: tuple[Interpreter.Listener, ...] = ()
    lengths: dict[int, int] = field(default_factory=dict[int, int], init=False)
    _states: dict[str, dict[int, Any]] = field(
        default_factory=dict[str, dict[int, Any]], init=False
    )

    def __post_init__(self) -> None:
        numerics = Numerics(
            self.rounding,
            self.namespace,
            self.dtype,
            self.device,
            self.lightning,
            self.wide_rows,
            self.copies,
        )
        self._functions = SalaFunctions(row_source(self.weights), numerics)
        self._interpreter = Interpreter(self.module, listeners=self.listeners)
        self._interpreter.register_implementations(FuncFunctions())
        self._interpreter.register_implementations(self._functions)
        operations = self.module.ops
        self._steps = {op.sym_name.data: op for op in operations if isinstance(op, FuncOp)}

    @overload
    def prefill(
        self,
        token_ids: Sequence[int],
        chunk: int | None = ...,
        *,
        slot: int = ...,
        rows: Rows = ...,
    ) -> Array: ...

    @overload
    def prefill(
        self,
        token_ids: Sequence[int],
        chunk: int | None = ...,
        *,
        slot: int = ...,
        rows: Rows = ...,
        observe: Iterable[str],
    ) -> tuple[Array, Observed]: ...

    def prefill(
        self,
        token_ids: Sequence[int],
        chunk: int | None = None,
        *,
        slot: int = 0,
        rows: Rows = "all",
        observe: Iterable[str] = (),
    ) -> Array | tuple[Array, Observed]:
        """Start a sequence anew: logits [tokens, vocabulary] of one call, in pieces of `chunk`.

        With `observe` (names of `OBSERVABLE`), also the inner values of all tokens. `rows="last"`
        gives one row.
        """
        self.close(slot)
        return self.extend(token_ids, chunk, slot=slot, rows=rows, observe=observe)

    def extend(
        self,
        token_ids: Sequence[int],
        chunk: int | None = None,
        *,
        slot: int = 0,
        rows: Rows = "all",
        observe: Iterable[str] = (),
    ) -> Any:
        """Continue a sequence by one call of any number of tokens; returns like `prefill`."""
        if not len(token_ids):
            raise RequestError("there are no tokens to run", expected="at least one token id")
        observed = _Observations(tuple(observe))
        call_length = self.lengths.get(slot, 0) + len(token_ids)
        pieces: list[Array] = []
        for start in range(0, len(token_ids), chunk or len(token_ids)):
            piece = token_ids[start : start + (chunk or len(token_ids))]
            is_end = start + len(piece) == len(token_ids)
            wanted = None if rows == "all" else [len(piece) - 1] if is_end else []
            pieces.append(self._run([NewTokens(slot, piece, call_length, wanted)], observed)[0])
        logits = array_namespace(*pieces).concat(pieces, axis=0)
        return (logits, observed.collected()) if observed.kinds else logits

    def decode(self, token_id: int, *, slot: int = 0) -> Array:
        """Append one token by a call of its own: logits [vocabulary]."""
        return self.step([NewTokens(slot, [token_id])])[0][0, :]

    def greedy(
        self, token_ids: Sequence[int], count: int, *, slot: int = 0
    ) -> tuple[list[int], Array]:
        """Prefill, then append the likeliest token `count` times, the end of the sequence included.

        Returns the new ids and the logits [count, vocabulary] that each was picked from.
        """
        rows = [self.prefill(token_ids, slot=slot, rows="last")[0, :]]
        ids = [_likeliest(rows[-1])]
        while len(ids) < count:
            rows.append(self.decode(ids[-1], slot=slot))
            ids.append(_likeliest(rows[-1]))
        return ids, array_namespace(*rows).stack(rows)

    def step(self, sequences: Sequence[NewTokens], *, observe: Iterable[str] = ()) -> Any:
        """Run new tokens of several sequences, of any lengths, at once; logits of each.

        With `observe`, also the inner values of all new tokens.
        """
        observed = _Observations(tuple(observe))
        logits = self._run(sequences, observed)
        return (logits, observed.collected()) if observed.kinds else logits

    def close(self, slot: int) -> None:
        """Forget a sequence."""
        self.lengths.pop(slot, None)
        for pool in self._states.values():
            pool.pop(slot, None)

    def _run(self, sequences: Sequence[NewTokens], observed: "_Observations") -> list[Array]:
        inputs = self._inputs(sequences)
        observed.begin()
        self._functions.notice = observed.notice
        if "step" in self._steps:
            logits = self._call("step", inputs)
        else:
            is_decode = all(len(part.tokens) == 1 for part in sequences)
            phase = "decode" if is_decode and "decode" in self._steps else "prefill"
            logits = self._call("logits", {**inputs, "hidden": self._call(phase, inputs)})
        for part in sequences:
            self.lengths[part.slot] = self.lengths.get(part.slot, 0) + len(part.tokens)
        ends = np.cumsum([len(_wanted(part)) for part in sequences])
        starts = [0, *ends[:-1]]
        return [logits[a:b, :] for a, b in zip(starts, ends, strict=True)]

    def _inputs(self, sequences: Sequence[NewTokens]) -> dict[str, np.ndarray]:
        chunks = [self._chunk(part) for part in sequences]
        inputs = step_inputs(chunks)
        wanted = [
            first + row
            for part, first in zip(sequences, inputs[InputName.OFFSETS], strict=False)
            for row in _wanted(part)
        ]
        return inputs | {InputName.LOGIT_ROWS: np.asarray(wanted, np.int32)}

    def _chunk(self, part: NewTokens) -> PlainChunk:
        history = self.lengths.get(part.slot, 0)
        end = history + len(part.tokens)
        call_length = end if part.call_length is None else part.call_length
        return PlainChunk(part.tokens, history, call_length, part.slot)

    def _call(self, name: str, inputs: dict[str, Any]) -> Array:
        """Call a function of the module with named inputs and the states; keep its new states."""
        function = self._steps[name]
        names = argument_names(function)
        states = [
            label
            for label, kind in zip(names, function.function_type.inputs.data, strict=True)
            if isinstance(kind, StateType)
        ]
        values = {**inputs, **{label: self._states.get(label, {}) for label in states}}
        result, *updated = self._interpreter.call_op(name, tuple(values.get(x) for x in names))
        self._states.update(zip(states, updated, strict=True))
        return result


def step_inputs(chunks: Sequence[BatchChunk]) -> dict[str, np.ndarray]:
    """The integer arguments of a step; its page tables are read by nobody here."""
    return {name.value: values for name, values in batch_arrays(chunks).items()}


def argument_names(function: FuncOp) -> list[str]:
    """The names that a function gives its arguments, attribute `sala.name` of each."""
    attributes = function.arg_attrs.data if function.arg_attrs else ()
    return [_argument_name(attribute) for attribute in attributes]


def _argument_name(attributes: Any) -> str:
    assert isinstance(attributes, DictionaryAttr)
    name = attributes.data["sala.name"]
    assert isinstance(name, StringAttr)
    return name.data


def _wanted(part: NewTokens) -> Sequence[int]:
    return range(len(part.tokens)) if part.rows is None else part.rows


def _likeliest(logits: Array) -> int:
    return int(array_namespace(logits).argmax(logits))


class _Observations:
    """Collects inner values over the pieces of a call; of a kind and layer the last of a piece."""

    def __init__(self, kinds: tuple[str, ...]):
        unknown = sorted(set(kinds) - set(OBSERVABLE))
        if unknown:
            raise RequestError(
                f"{', '.join(unknown)} cannot be observed", expected=", ".join(OBSERVABLE)
            )
        self.kinds = kinds
        self._pieces: list[Observed] = []

    def begin(self) -> None:
        """Start a piece."""
        self._pieces.append({kind: {} for kind in self.kinds})

    def notice(self, kind: str, layer: int | None, value: Any) -> None:
        """Take note of a value, if its kind is observed."""
        if kind in self.kinds:
            self._pieces[-1][kind][layer] = value

    def collected(self) -> Observed:
        """Join the pieces along the tokens."""
        return {
            kind: {
                layer: _join([piece[kind][layer] for piece in self._pieces])
                for layer in self._pieces[0][kind]
            }
            for kind in self.kinds
        }


def _join(values: list[Any]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(_join(list(parts)) for parts in zip(*values, strict=True))
    return array_namespace(*values).concat(values, axis=0)
