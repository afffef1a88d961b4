"""The tensors of a call of the lightning attention kernel."""

from dataclasses import dataclass
from typing import Self

from sala_compile.codegen.kernels.lightning_attention.spec import Schedule, Spec
from sala_compile.codegen.kernels.tir.builder import KernelBuilder, Tensor
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Parameters:
    """What follows `control`, in this order."""

    offsets: Tensor
    history: Tensor
    generated: Tensor
    slots: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    state: Tensor
    q_norm: Tensor | None
    k_norm: Tensor | None
    rope: Tensor | None
    out: Tensor
    chunk: Tensor

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec, schedule: Schedule) -> Self:
        """Declare the parameters behind `control`."""
        head_dim, heads = spec.head_dim, spec.num_heads
        columns = padded(head_dim)
        rows = {name: (f"{name}_rows", getattr(spec, f"{name}_pitch")) for name in "qkv"}
        norm = (columns,) if spec.norm else None
        return cls(
            offsets=builder.tensor("offsets", ("offset_capacity",), "int32"),
            history=builder.tensor("history", ("history_capacity",), "int32"),
            generated=builder.tensor("generated", ("generated_capacity",), "int32"),
            slots=builder.tensor("slots", ("slot_capacity",), "int32"),
            **{name: builder.tensor(name, shape, "float32") for name, shape in rows.items()},
            state=builder.tensor("state", ("state_slots", heads, head_dim, head_dim), "float32"),
            q_norm=builder.tensor("q_norm", norm, "float32") if norm else None,
            k_norm=builder.tensor("k_norm", norm, "float32") if norm else None,
            rope=builder.tensor("rope", ("rope_rows", columns), "float32") if spec.rope else None,
            out=builder.tensor(
                "out", ("out_rows", padded(heads * head_dim)), spec.out_element.dtype
            ),
            chunk=builder.tensor(
                "chunk", ("chunk_workers", schedule.workspace(head_dim)), "float32"
            ),
        )
