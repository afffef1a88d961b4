"""The rows of new tokens: latent and rotary part, rounded, into their pages."""

from sala_compile.codegen.kernels.attend_latents.spec import Spec
from sala_compile.codegen.kernels.tir.builder import Expr, Tensors, held
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.page_access import page_of
from sala_compile.codegen.kernels.tir.tile import live_lanes

F32 = Element.F32


def append(spec: Spec, tensors: Tensors, token: Expr) -> None:
    """Emit the write of the row of one token."""
    position = held(tensors.token_position[token])
    row = held(tensors.slots[tensors.token_sequence[token]])
    page = page_of(tensors.page_table, row, position // spec.page_tokens)
    place = held(position % spec.page_tokens)
    parts = [(tensors.latent, spec.latent_start, 0, spec.latent_dim)]
    if spec.rotary_dim:
        parts.append((tensors.rotary, spec.rotary_start, spec.latent_dim, spec.rotary_dim))
    for source, start, first, columns in parts:
        for column, live in live_lanes(columns):
            value = F32.load(source, token, start + column, count=live)
            spec.element.store(tensors.pool, page, place, first + column, value=value, count=live)
