"""Pools of consecutive tokens: one row of a pool, when its last token comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.ir import Attribute
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.dialect.attributes import IntegerProperty
from sala_compile.sala_ir.dialect.base import (
    SameActivation,
    columns_of,
    like,
    require,
    require_shape,
)
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import BatchType, OpenPoolType, WeightType


@irdl_op_definition
class PoolTokensOp(SalaOp):
    """Row t is the pool of the tokens t - P + 1 .. t where (t + 1) % P == 0; all others are 0.

    x [T, C], P the property `pool`; pools are aligned to the first token of the sequence. A pool is
    the mean of its rows, or with a gate [T, C] and place weights [P, C], column by column, the sum
    of softmax_s(gate_s + place[s % P]) x_s. `state` keeps the rows of the open pool, of x and then
    of the gate. Gated pools are those of the indexer of GLM-5.3-Flash.
    """

    name = "sala.pool_tokens"
    CONTINUES: ClassVar = (("state_out", "state"),)

    x = operand_def(SameActivation)
    state = operand_def(OpenPoolType)
    batch = operand_def(BatchType())
    gate = opt_operand_def(SameActivation)
    place = opt_operand_def(WeightType)
    pool = prop_def(IntegerProperty)
    out = result_def(SameActivation)
    state_out = result_def(OpenPoolType)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$x `,` $state `,` $batch (`gate` `(` $gate^ `:` type($gate) `)`)?"
        " (`place` `(` $place^ `:` type($place) `)`)? attr-dict"
        " `:` type($x) `,` type($state) `->` type($out) `,` type($state_out)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The output is like x."""
        return like(self.x, element), self.state.type

    def verify_(self) -> None:
        """A pool has two tokens or more; gate and place come together; the state fits them."""
        pool, columns = self.pool.value.data, columns_of(self.x)
        require(pool >= 2, f"pool must be at least 2, not {pool}")
        both = (self.gate is None) == (self.place is None)
        require(both, "gate and place are given together or not at all")
        if self.place is not None:
            require_shape(self.place, (pool, columns), "place")
        state = self.state.type
        assert isinstance(state, OpenPoolType)
        kept = columns if self.gate is None else 2 * columns
        require(state.sizes == (pool - 1, kept), "{} does not fit the pools", state)
