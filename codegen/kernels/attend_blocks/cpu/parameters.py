"""The tensors of a call of the block attention kernel."""

from dataclasses import dataclass
from typing import Self

from sala_compile.codegen.kernels.attend_blocks.spec import Schedule, Spec
from sala_compile.codegen.kernels.tir.builder import Control, KernelBuilder, Tensor
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Parameters:
    """All parameters, in this order; without lists of blocks every token reads everything."""

    control: Control
    token_sequence: Tensor
    token_position: Tensor
    offsets: Tensor
    slots: Tensor
    page_table: Tensor
    q: Tensor
    k_pool: Tensor
    v_pool: Tensor
    blocks: Tensor | None
    counts: Tensor | None
    gate: Tensor | None
    out: Tensor
    blocks_read: Tensor
    floats: Tensor
    operands: Tensor

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec, schedule: Schedule) -> Self:
        """Declare the parameters."""
        heads = spec.kv_heads
        lists = ("block_rows", heads, spec.budget)
        gate = ("gate_rows", spec.gate_pitch)
        width = padded(spec.num_heads * spec.head_dim)
        return cls(
            control=builder.control(),
            token_sequence=builder.tensor("token_sequence", ("sequence_rows",), "int32"),
            token_position=builder.tensor("token_position", ("position_rows",), "int32"),
            offsets=builder.tensor("offsets", ("offset_capacity",), "int32"),
            slots=builder.tensor("slots", ("slot_capacity",), "int32"),
            page_table=builder.tensor("page_table", ("table_rows", "table_columns"), "int32"),
            q=builder.tensor("q", ("q_rows", spec.q_pitch), "float32"),
            k_pool=spec.cache.declare_keys(builder),
            v_pool=spec.cache.declare_values(builder),
            blocks=builder.tensor("blocks", lists, "int32") if spec.budget else None,
            counts=builder.tensor("counts", ("count_rows", heads), "int32")
            if spec.budget
            else None,
            gate=builder.tensor("gate", gate, "float32") if spec.gate else None,
            out=builder.tensor("out", ("out_rows", width), spec.out_element.dtype),
            blocks_read=builder.tensor("blocks_read", ("read_rows", heads), "int32"),
            floats=builder.tensor("scores", ("score_workers", schedule.floats(spec)), "float32"),
            operands=builder.tensor(
                "operands",
                ("operand_workers", schedule.operands(spec)),
                schedule.product(spec).dtype,
            ),
        )
