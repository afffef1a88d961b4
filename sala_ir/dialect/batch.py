"""The ragged batch of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.ir import SSAValue
from xdsl.irdl import AttrSizedOperandSegments, irdl_op_definition, result_def, var_operand_def

from sala_compile.runtime.artifact.batch_fields import FIELDS, InputName, Per
from sala_compile.sala_ir.dialect.base import (
    Ids,
    Tables,
    require,
)
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import BatchType

BATCH_OPERANDS = tuple(
    field.name.value
    for field in FIELDS
    if field.captured and field.per in (Per.SEQUENCE, Per.BOUNDARY)
)
"""The fields that make a batch, in the order of its operands; page tables follow."""

STEP_INPUTS = (InputName.TOKENS.value, *BATCH_OPERANDS, InputName.LOGIT_ROWS.value)
"""The inputs of a captured step besides page tables and states, int32 of rank 1."""


@irdl_op_definition
class MakeBatchOp(SalaOp):
    """Gather the fields that say where the new tokens of every sequence are.

    `fields` are those of `BATCH_OPERANDS`, described in `runtime.artifact.batch_fields`; `tables`
    the page tables [slots, pages] of the step's groups of pages, of which there may be none.
    """

    name = "sala.make_batch"

    fields = var_operand_def(Ids)
    tables = var_operand_def(Tables)
    batch = result_def(BatchType())

    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    assembly_format = (
        "$fields (`tables` `(` $tables^ `:` type($tables) `)`)? attr-dict `:` type($fields)"
    )

    def __init__(self, fields: Mapping[str, SSAValue], tables: Sequence[SSAValue] = ()):
        operands = [fields[name] for name in BATCH_OPERANDS]
        super().__init__(operands, list(tables), result_types=[BatchType()])

    def verify_(self) -> None:
        """There is a value for every field."""
        names = ", ".join(BATCH_OPERANDS)
        require(len(self.fields) == len(BATCH_OPERANDS), f"a batch is made of {names}")
