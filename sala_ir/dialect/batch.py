"""The ragged batch of a step."""

from __future__ import annotations

from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, result_def

from sala_compile.sala_ir.dialect.base import Ids, SalaOp, Tables
from sala_compile.sala_ir.dialect.types import BatchType


@irdl_op_definition
class MakeBatchOp(SalaOp):
    """Gather what says where the new tokens of every sequence stand.

    offsets [B+1]: first row of every sequence; history [B]: tokens already in the state;
    call_lengths [B]: length when the whole call is done (decides the regime); slots [B]: row of the
    recurrent state and of both page tables.
    """

    name = "sala.make_batch"

    offsets = operand_def(Ids)
    history = operand_def(Ids)
    call_lengths = operand_def(Ids)
    slots = operand_def(Ids)
    page_table = operand_def(Tables)
    compressed_table = operand_def(Tables)
    batch = result_def(BatchType())

    assembly_format = (
        "$offsets `,` $history `,` $call_lengths `,` $slots `,` $page_table `,` $compressed_table"
        " attr-dict"
    )

    def __init__(
        self,
        offsets: SSAValue,
        history: SSAValue,
        call_lengths: SSAValue,
        slots: SSAValue,
        page_table: SSAValue,
        compressed_table: SSAValue,
    ):
        operands = (offsets, history, call_lengths, slots, page_table, compressed_table)
        super().__init__(operands=operands, result_types=[BatchType()])
