"""Softmax attention whose output is gated head by head, with queries and gates in one tensor."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import OutputGateOp, WeightRole, columns_of
from sala_compile.sala_ir.frontends.kit.decoder import Mixer, selected_attention, softmax_attention
from sala_compile.sala_ir.frontends.kit.step import StepWriter


@dataclass(frozen=True, slots=True)
class GatedAttention:
    """Parameters of the attention layers of a model; tensors are those of `self_attn`.

    The rows of `q_proj` are for each head its queries, then its gates. Every head of queries and
    keys is normalised with a weight that is stored less `norm_offset`, and rotated by the `table`,
    in its first dimensions if that is narrower than the head. With `choose`, from what the layer
    reads to a selection, a token attends to the pools of `pool` tokens that are chosen.
    """

    heads: Heads
    eps: float
    norm_offset: float
    table: SSAValue
    bias: bool = False
    choose: Mixer | None = None
    pool: int = 1

    def emit(self, step: StepWriter, batch: SSAValue, x: SSAValue) -> SSAValue:
        """Projections, norms, rotation, attention, gates and the output projection."""
        heads, size, columns = self.heads, self.heads.head_dim, columns_of(x)
        q, gate = self.queries(step, x)
        k = step.linear(
            x, "self_attn.k_proj", heads.kv_columns, bias=self.bias, role=WeightRole.RECALL
        )
        v = step.linear(x, "self_attn.v_proj", heads.kv_columns, bias=self.bias)
        q, k = (self.normal(step, part, name) for name, part in (("q", q), ("k", k)))
        qkv = step.rotate(q, self.table, size), step.rotate(k, self.table, size), v
        if self.choose is None:
            mixed = softmax_attention(step, batch, qkv, heads)
        else:
            mixed = selected_attention(step, batch, qkv, heads, self.choose(x), self.pool)
        gated = step.emit(OutputGateOp(mixed, gate, layer=step.layer), "gated")
        return step.linear(gated, "self_attn.o_proj", columns, bias=self.bias, hint="mixed")

    def queries(self, step: StepWriter, x: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Queries and gates: rows of one tensor, head by head."""
        name, size = f"{step.prefix}self_attn.q_proj", self.heads.head_dim
        rows = 2 * self.heads.columns
        whole = step.weight(f"{name}.weight", (rows, columns_of(x)), WeightRole.RECALL)
        vector = step.weight(f"{name}.bias", (rows,)) if self.bias else None
        q, gate = (
            step.product(
                x,
                step.rows(whole, start, size, 2 * size),
                hint,
                bias=None if vector is None else step.rows(vector, start, size, 2 * size),
            )
            for hint, start in (("q", 0), ("gate", size))
        )
        return q, gate

    def normal(self, step: StepWriter, part: SSAValue, name: str) -> SSAValue:
        """Every head of queries or keys, normalised."""
        size, offset = self.heads.head_dim, self.norm_offset
        return step.norm(part, f"self_attn.{name}_norm", self.eps, size, offset=offset, hint=name)
