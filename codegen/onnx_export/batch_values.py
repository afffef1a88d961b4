"""What the inputs say about a batch: positions, lengths and masks, each made at its first use."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from onnx import TensorProto

from sala_compile.codegen.onnx_export.node_writer import NodeWriter

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
CALL_LENGTHS = "call_lengths"
END = np.iinfo(np.int64).max
"""The end of an axis, for a slice."""


class BatchValues:
    """Values of a batch of equally many new tokens for each sequence, some of them padding.

    The token at index i of `attention_mask` [batch, past + sequence] is real where it is 1, and
    its position is the number of real tokens before it: padding may be anywhere.
    `uses_call_lengths` is set by what asks for them.
    """

    def __init__(self, writer: NodeWriter) -> None:
        self._writer = writer
        self._masks: dict[tuple[float, ...], str] = {}
        self._shapes: dict[tuple[int, ...], str] = {}
        self.uses_call_lengths = False

    def shape_of(self, *columns: int) -> str:
        """The shape [batch, sequence, columns...] as a tensor."""
        if columns not in self._shapes:
            with self._writer.scope("batch"):
                sizes = self._writer.constant(columns)
                hint = "_".join(map(str, ("shape", *columns)))
                self._shapes[columns] = self._writer.add(
                    "Concat", self._sizes, sizes, axis=0, hint=hint
                )
        return self._shapes[columns]

    @cached_property
    def _sizes(self) -> str:
        return self._writer.add("Shape", INPUT_IDS, hint="sizes")

    @cached_property
    def mask(self) -> str:
        """1 for a token and 0 for padding, int64 [batch, past + sequence]."""
        with self._writer.scope("batch"):
            return self._writer.add("Cast", ATTENTION_MASK, to=TensorProto.INT64, hint="mask")

    @cached_property
    def _index(self) -> str:
        """The positions of all tokens, past and new, int64 [batch, past + sequence]."""
        add, constant = self._writer.add, self._writer.constant
        mask = self.mask
        with self._writer.scope("batch"):
            counts = add("CumSum", mask, constant(1), hint="counts")
            index = add("Sub", counts, constant(1), hint="index")
            return add("Max", index, constant(0), hint="index")

    @cached_property
    def _first_new(self) -> str:
        """The index of the first new token, [1]: minus the length of the sequence."""
        with self._writer.scope("batch"):
            length = self._writer.add("Shape", INPUT_IDS, start=1, hint="sequence")
            return self._writer.add("Neg", length, hint="first_new")

    def _new(self, value: str, hint: str) -> str:
        """The part of [batch, past + sequence] that belongs to the new tokens."""
        constant = self._writer.constant
        return self._writer.add(
            "Slice", value, self._first_new, constant([END]), constant([1]), hint=hint
        )

    @cached_property
    def positions(self) -> str:
        """The position of each new token, int64 [batch, sequence]."""
        index = self._index
        with self._writer.scope("batch"):
            return self._new(index, "positions")

    @cached_property
    def call_lengths(self) -> str:
        """The length that each sequence has when its call is done, int64 [batch]."""
        self.uses_call_lengths = True
        add, constant = self._writer.add, self._writer.constant
        mask = self.mask
        with self._writer.scope("batch"):
            lengths = add("ReduceSum", mask, constant([1]), keepdims=0, hint="lengths")
            given = add("Cast", CALL_LENGTHS, to=TensorProto.INT64, hint="calls")
            ends_here = add("Equal", given, constant(0), hint="ends_here")
            return add("Where", ends_here, lengths, given, hint="calls")

    @cached_property
    def causal(self) -> str:
        """Which tokens each new token may attend to, bool [batch, 1, sequence, past + sequence].

        A padding token attends to itself as well, so that no row is empty.
        """
        add, constant = self._writer.add, self._writer.constant
        mask, first = self.mask, self._first_new
        with self._writer.scope("batch"):
            real = add("Cast", mask, to=TensorProto.BOOL, hint="real")
            real = add("Unsqueeze", real, constant([1, 2]), hint="real")
            total = add("Shape", ATTENTION_MASK, start=1, hint="total")
            total = add("Squeeze", total, hint="total")
            place = add("Range", constant(0), total, constant(1), hint="place")
            new = add("Slice", place, first, constant([END]), hint="new_place")
            new = add("Unsqueeze", new, constant([1]), hint="new_place")
            earlier = add("Less", place, new, hint="earlier")
            own = add("Equal", place, new, hint="own")
            return add("Or", add("And", real, earlier), own, hint="causal")

    @cached_property
    def _new_mask(self) -> str:
        """1 for a real new token and 0 for padding, int64 [batch, sequence]."""
        mask = self.mask
        with self._writer.scope("batch"):
            return self._new(mask, "new_mask")

    @cached_property
    def new_counts(self) -> str:
        """How many of the new tokens are real, int64 [batch, 1]."""
        mask = self._new_mask
        with self._writer.scope("batch"):
            return self._writer.add(
                "ReduceSum", mask, self._writer.constant([1]), hint="new_counts"
            )

    @cached_property
    def new_order(self) -> str:
        """Indices of the new tokens, the real ones in their order first, int64 [batch, seq, 1]."""
        add, constant, mask = self._writer.add, self._writer.constant, self._new_mask
        with self._writer.scope("batch"):
            length = add("Shape", INPUT_IDS, start=1, hint="sequence")
            place = add("Range", constant(0), add("Squeeze", length), constant(1), hint="place")
            padding = add("Sub", constant(1), mask, hint="padding")
            key = add("Add", add("Mul", padding, length, hint="later"), place, hint="key")
            hints = ("sorted", "new_order")
            _, order = self._writer.add_all("TopK", key, length, largest=0, hints=hints)
            return add("Unsqueeze", order, constant([2]), hint="new_order")

    @cached_property
    def new_ranks(self) -> str:
        """Where each new token is in that order, int64 [batch, sequence, 1]; padding anywhere."""
        add, constant, mask = self._writer.add, self._writer.constant, self._new_mask
        with self._writer.scope("batch"):
            counts = add("CumSum", mask, constant(1), hint="new_rank")
            rank = add("Max", add("Sub", counts, constant(1)), constant(0), hint="new_rank")
            return add("Unsqueeze", rank, constant([2]), hint="new_rank")

    @cached_property
    def _real(self) -> str:
        """1 for a real new token and 0 for padding, float32 [batch, sequence, 1]."""
        mask = self._new_mask
        with self._writer.scope("batch"):
            real = self._writer.add("Unsqueeze", mask, self._writer.constant([2]), hint="new_mask")
            return self._writer.add("Cast", real, to=TensorProto.FLOAT, hint="new_mask")

    def times_real(self, factors: Sequence[float]) -> str:
        """The factors for a real new token and 0 for padding, float32 [batch, sequence, factors]"""
        key = tuple(factors)
        if key not in self._masks:
            real = self._real
            with self._writer.scope("batch"):
                row = self._writer.constant(factors, np.float32)
                self._masks[key] = self._writer.add("Mul", real, row, hint="times_real")
        return self._masks[key]
