"""Gradients of every reference function, in float64, against finite differences.

`gradcheck` differences every value of every result by every value of every input.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError, gradcheck

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads, LatentHeads, StateHeads
from sala_compile.sala_ir.frontends.kit.lightning import lightning_slopes
from sala_compile.sala_ir.reference import LightningForm

torch.set_num_threads(1)
BATCH = reference.make_batch([0, 5, 9], [0, 3], [5, 7], [0, 1])
"""A new sequence of five tokens, and four more of one that has three."""
NEW = reference.make_batch([0, 22], [0], [22], [0])
HEADS, WIDE = Heads(2, 1, 4, 0.5), StateHeads(2, 1, 3, 4, 0.7)
SELECTION = BlockSelection(4, 2, 4, 1, 0, 2, 0)
LATENT = LatentHeads(2, 3, 2, 4, 3, 0.5)
LATER, POOLS = reference.make_batch([0, 4], [3], [7], [1]), [[0, -1], [0, 1], [1, -1], [0, 2]]
"""Four tokens after three, and the pools that each reads."""
OWN_POOLS = [[-1], [0], [0], [1], [0], [1], [-1], [0], [2]]
"""A pool of two tokens for each token of the batch; two read their tail alone."""
CHOSEN = [[0, 2], [1, 2], [0, 1]]
"""Experts of three tokens."""
SLOPES = lightning_slopes(2)
TABLE = torch.from_numpy(reference.rope_table(BATCH, frequencies=(1.0, 0.1)).astype("float64"))
SIZES = {"kernel_size": 4, "kernel_stride": 2}
Case = tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]


def _flat(values: Any) -> tuple[torch.Tensor, ...]:
    """The real tensors of results, states by slot included."""
    if isinstance(values, torch.Tensor):
        return (values,) if values.dtype == torch.float64 else ()
    parts = values.values() if isinstance(values, dict) else values
    return tuple(x for part in parts for x in _flat(part))


def _kv(k: torch.Tensor, v: torch.Tensor) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    return {1: (k, v)}


def _compressed(k: torch.Tensor, **more: Any) -> Any:
    keys = reference.append_kv(k, k, {}, NEW, kv_heads=1)
    return reference.compress_keys(keys, {}, NEW, **SIZES, **more)


def _sparse(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
    """The choice of blocks is made of values: it stays as it is within a difference."""
    found = reference.block_sparse_attention(q, k, v, {}, {}, NEW, heads=HEADS, selection=SELECTION)
    assert int(found.blocks_read.max()) < 6, "blocks have to be left out"
    return found.out, found.kv, found.compressed


def _unrotated(*tensors: torch.Tensor) -> Any:
    q, k, v, choosing_q, choosing_k = tensors
    found = reference.block_sparse_attention(
        q, k, v, {}, {}, NEW, choosing_q, choosing_k, {}, heads=HEADS, selection=SELECTION
    )
    return found.out, found.kv, found.compressed, found.recent


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, gate: torch.Tensor) -> Any:
    kv = reference.append_kv(k, v, {}, NEW, kv_heads=1)
    return reference.attend_blocks(q, kv, NEW, gate=gate, heads=HEADS, block_size=4)[0]


def _lightning(form: LightningForm) -> Callable[..., Any]:
    def run(q: Any, k: Any, v: Any, state: Any, q_norm: Any, k_norm: Any) -> Any:
        return reference.lightning_attention(
            q, k, v, {1: state}, BATCH, q_norm, k_norm, TABLE,
            heads=HEADS, eps=1e-6, slopes=SLOPES, form=form,
        )  # fmt: skip

    return run


_ROWS, _KEYS = (9, 8), (9, 4)
_LIGHTNING = (_ROWS, _KEYS, _KEYS, (2, 4, 4), (4,), (4,))
_HEADS_APART = ((2, 5, 2, 4), (2, 5, 2, 4), (2, 5, 2, 4), (2, 2, 4, 4))
CASES: dict[str, Case] = {
    "append_kv": (
        lambda k, v, a, b: reference.append_kv(k, v, _kv(a, b), BATCH, kv_heads=1),
        (_KEYS, _KEYS, (3, 1, 4), (3, 1, 4)),
    ),
    "attend_blocks": (_attend, ((22, 8), (22, 4), (22, 4), (22, 8))),
    "attend_latents": (
        lambda a, q, c, r, s: reference.attend_latents(a, q, c, r, {1: s}, BATCH, heads=LATENT),
        ((9, 8), (9, 10), (9, 4), (9, 2), (3, 6)),
    ),
    "attend_latents, selected": (
        lambda a, q, c, r, s: reference.attend_latents(
            a, q, c, r, {1: s}, BATCH, torch.tensor(OWN_POOLS), heads=LATENT, pool=2
        ),
        ((9, 8), (9, 10), (9, 4), (9, 2), (3, 6)),
    ),
    "attend_pools": (
        lambda q, k, v, g: reference.attend_pools(
            q, {1: (k, v)}, LATER, torch.tensor(POOLS), g, heads=HEADS, pool=2
        ),
        ((4, 8), (7, 1, 4), (7, 1, 4), (4, 8)),
    ),
    "block_scores": (
        lambda q, fine, coarse: reference.block_scores(
            q, fine, coarse, NEW.sequences[0].positions[-3:], scale=0.5, selection=SELECTION
        ),
        ((3, 2, 4), (10, 1, 4), (1, 1, 4)),
    ),
    "block_sparse_attention": (_sparse, ((22, 8), (22, 4), (22, 4))),
    "block_sparse_attention, others choose": (
        _unrotated, ((22, 8), (22, 4), (22, 4), (22, 8), (22, 4)),
    ),
    "cast_weight": (lambda w: reference.cast_weight(w, rounding=reference.exact), ((3, 4),)),
    "compress_keys": (_compressed, ((22, 4),)),
    "compress_new_keys": (
        lambda k: reference.compress_new_keys(k, {}, {}, NEW, kv_heads=1, **SIZES), ((22, 4),),
    ),
    "concat_weights": (lambda a, b: reference.concat_weights((a, b)), ((3, 4), (2, 4))),
    "connect_streams": (
        lambda f, x, b, s: reference.connect_streams(
            f, x, b, s, streams=3, iterations=3, eps=1e-2, norm_eps=1e-2
        ),
        ((2, 15), (2, 12), (15,), (3,)),
    ),
    "delta_recurrence": (
        lambda q, k, v, a, b, s: reference.delta_recurrence(q, k, v, a, b, state=s),
        ((5, 2, 3), (5, 2, 3), (5, 2, 4), (5, 2, 1), (5, 2), (2, 3, 4)),
    ),
    "delta_recurrence, a decay of every row": (
        lambda q, k, v, a, b, s: reference.delta_recurrence(q, k, v, a, b, state=s),
        ((5, 2, 3), (5, 2, 3), (5, 2, 4), (5, 2, 3), (5, 2), (2, 3, 4)),
    ),
    "embedding": (
        lambda w: reference.embedding(torch.tensor([2, 0, 2]), w, scale=3.0), ((4, 3),),
    ),
    "exact": (reference.exact, ((3,),)),
    "expert_down": (
        lambda x, g, a, b, c: reference.expert_down(
            x, CHOSEN, g, lambda expert: (a, b, c)[expert], width=4
        ),
        ((3, 8), (3, 2), (5, 3), (5, 3), (5, 3)),
    ),
    "expert_up": (
        lambda x, a, b, c: reference.expert_up(
            x, CHOSEN, lambda expert: (a, b, c)[expert], activation="squared_relu"
        ),
        ((3, 4), (3, 4), (3, 4), (3, 4)),
    ),
    "expert_up with a gate": (
        lambda x, a, b, c: reference.expert_up(
            x, CHOSEN, lambda expert: (a, b, c)[expert], lambda expert: (b, c, a)[expert],
            activation="swiglu", limit=1.5,
        ),
        ((3, 4), (3, 4), (3, 4), (3, 4)),
    ),
    "gated_delta": (
        lambda q, k, v, a, r, s, x, y: reference.gated_delta(
            q, k, v, a, r, {1: s}, BATCH, x, y, heads=WIDE, eps=1e-6
        ),
        ((9, 3), (9, 3), (9, 8), (9, 2), (9, 2), (2, 3, 4), (2,), (2,)),
    ),
    "head_linear": (
        lambda x, w: reference.head_linear(x, w, num_heads=2), ((3, 10), (6, 4)),
    ),
    "interleaved_part": (
        lambda w: reference.interleaved_part(w, 1, group=2), ((8, 3),),
    ),
    "interleave_weights": (
        lambda a, b: reference.interleave_weights(a, b, group=2), ((3, 2), (3, 2)),
    ),
    "join_streams": (
        lambda x, s: reference.join_streams(x, s, streams=3), ((2, 12), (2, 3)),
    ),
    "join_streams without shares": (
        lambda x: reference.join_streams(x, streams=3), ((2, 12),),
    ),
    "latent_attention": (
        lambda q, c, r, s, k, v: reference.latent_attention(
            q, c, r, {1: s}, BATCH, k, v, heads=LATENT
        ),
        ((9, 10), (9, 4), (9, 2), (3, 6), (6, 4), (8, 6)),
    ),
    "layer_norm": (
        lambda x, w, b: reference.layer_norm(x, w, b, eps=1e-3), ((3, 4), (4,), (4,)),
    ),
    "latent_attention without a rotary part": (
        lambda q, c, s, k, v: reference.latent_attention(
            q, c, None, {1: s}, BATCH, k, v, heads=replace(LATENT, rotary_dim=0)
        ),
        ((9, 6), (9, 4), (3, 4), (6, 4), (8, 6)),
    ),
    "lightning_attention, chunked": (_lightning(LightningForm.CHUNKED), _LIGHTNING),
    "lightning_attention, recurrent": (_lightning(LightningForm.RECURRENT), _LIGHTNING),
    "lightning_chunked": (
        lambda q, k, v, s: reference.lightning_chunked(
            q, k, v, slopes=SLOPES, state=s, history=3, chunk=4
        ),
        _HEADS_APART,
    ),
    "lightning_recurrence": (
        lambda q, k, v, s: reference.lightning_recurrence(q, k, v, slopes=SLOPES, state=s),
        _HEADS_APART,
    ),
    "linear": (
        lambda x, w, b, r: reference.linear(x, w, b, r, scale=0.3),
        ((3, 4), (5, 4), (5,), (3, 5)),
    ),
    "linear with swiglu": (
        lambda x, w: reference.linear(x, w, swiglu_columns=3), ((2, 3), (64, 3)),
    ),
    "linear with swiglu and a limit": (
        lambda x, w: reference.linear(x, w, swiglu_columns=3, limit=1.0), ((2, 3), (64, 3)),
    ),
    "logits": (
        lambda h, w: reference.logits(h, torch.tensor([2, 0]), w, scale=0.5), ((3, 4), (5, 4)),
    ),
    "ngram_embedding": (
        lambda w: reference.ngram_embedding([[2, 0], [1, 2]], w), ((4, 3),),
    ),
    "offset_weight": (lambda w: reference.offset_weight(w, offset=1.0), ((3, 4),)),
    "output_gate": (reference.output_gate, ((3, 4), (3, 4))),
    "output_gate of neighbours": (reference.output_gate, ((3, 8), (3, 2))),
    "pool_scores": (
        lambda q, k, w: reference.pool_scores(q, k, w, scale=0.5), ((3, 2, 4), (5, 4), (3, 2)),
    ),
    "pool_tokens": (
        lambda x, s: reference.pool_tokens(x, {1: s}, BATCH, pool=3), ((9, 3), (2, 3)),
    ),
    "pool_tokens with a gate": (
        lambda x, s, g, w: reference.pool_tokens(x, {1: s}, BATCH, g, w, pool=3),
        ((9, 3), (2, 6), (9, 3), (3, 3)),
    ),
    "residual_add": (
        lambda h, x: reference.residual_add(h, x, scale=0.5), ((3, 4), (3, 4)),
    ),
    "rms_norm": (
        lambda x, w, g: reference.rms_norm(x, w, torch.tensor([1, 0]), g, eps=1e-6),
        ((3, 8), (4,), (2, 8)),
    ),
    "rms_norm of groups": (
        lambda x, w: reference.rms_norm(x, w, eps=1e-2, groups=2), ((3, 8), (8,)),
    ),
    "rope": (
        lambda x, n: reference.rope(x, TABLE, n, head_dim=4, eps=1e-6), (_ROWS, (4,)),
    ),
    "rope of neighbours": (
        lambda x: reference.rope(x, TABLE, head_dim=8, start=3, interleaved=1), (_ROWS,),
    ),
    "route": (
        lambda x: reference.route(x, function="softmax", chosen=2), ((5, 6),),
    ),
    "route by groups": (
        lambda x, b: reference.route(
            x, b, function="sigmoid", chosen=2, groups=3, chosen_groups=2, eps=1e-20, scale=2.0
        ),
        ((5, 6), (6,)),
    ),
    "scale_weight": (lambda w: reference.scale_weight(w, factor=0.3), ((3, 4),)),
    "select_pools": (
        lambda q, k, w: reference.select_pools(
            q, k, {}, NEW, w, heads=2, scale=0.5, count=3, pool=4
        ),
        ((22, 8), (22, 4), (22, 2)),
    ),
    "short_convolution": (
        lambda x, s, w, b: reference.short_convolution(x, {1: s}, BATCH, w, b),
        ((9, 3), (2, 3), (3, 3), (3,)),
    ),
    "scaled_sigmoid": (lambda x: reference.scaled_sigmoid(x, scale=2.0), ((3, 4),)),
    "score_streams": (
        lambda k, q: reference.score_streams(k, q, streams=2, scale=0.5, least=1e-6),
        ((3, 8), (3, 8)),
    ),
    "selected_attention": (
        lambda q, k, v, a, b: reference.selected_attention(
            q, k, v, _kv(a, b), LATER, torch.tensor(POOLS), heads=HEADS, pool=2
        ),
        ((4, 8), (4, 4), (4, 4), (3, 1, 4), (3, 1, 4)),
    ),
    "short_convolution of taps apart": (
        lambda x, s, w: reference.short_convolution(x, {1: s}, BATCH, w, dilation=2),
        ((9, 3), (4, 3), (3, 3)),
    ),
    "silu": (reference.silu, ((3, 4),)),
    "slice_columns": (lambda x: reference.slice_columns(x, start=1, size=2), ((3, 4),)),
    "softmax_attention": (
        lambda q, k, v, a, b: reference.softmax_attention(
            q, k, v, _kv(a, b), BATCH, heads=HEADS, block_size=4
        ),
        (_ROWS, _KEYS, _KEYS, (3, 1, 4), (3, 1, 4)),
    ),
    "spread_streams": (
        lambda y, x, g, m: reference.spread_streams(y, x, g, m, streams=3),
        ((2, 4), (2, 12), (2, 3), (2, 9)),
    ),
    "spread_streams without streams": (
        lambda y: reference.spread_streams(y, streams=3), ((2, 4),),
    ),
    "squared_relu": (reference.squared_relu, ((3, 4),)),
    "state_space": (
        lambda q, k, v, a, s, x, y, z: reference.state_space(
            q, k, v, a, {1: s}, BATCH, x, y, z, heads=WIDE, least=0.0, most=100.0
        ),
        ((9, 3), (9, 3), (9, 8), (9, 2), (2, 3, 4), (2,), (2,), (2,)),
    ),
    "swiglu": (reference.swiglu, ((3, 4), (3, 4))),
    "swiglu with a limit": (
        lambda gate, up: reference.swiglu(gate, up, limit=0.5), ((3, 4), (3, 4)),
    ),
}  # fmt: skip
ROUNDS = {
    *("compress_unrounded_keys", "quantize_weight", "round_activations", "round_to_integers"),
    *("scale_and_zero", "to_bfloat16", "to_float32", "RoundedPages"),
}
"""Functions that round: their differences are steps. Gradients pass straight through roundings to
bfloat16 (`test_reference_torch`); nothing trains through integers."""
OF_NO_REALS = {
    *("choose_pools", "make_batch", "ngram_rows", "rope_table", "select_blocks", "selected_tokens"),
    "zero_rows",
}
"""Functions of positions or sizes alone, or whose results are whole numbers."""


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_differences(name: str):
    function, shapes = CASES[name]
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    assert gradcheck(lambda *given: _flat(function(*given)), inputs)


def test_every_function_of_the_reference_is_differenced_or_named():
    functions = {name for name in reference.__all__ if name[0].islower()} | {"RoundedPages"}
    differenced = {name.partition(",")[0].partition(" ")[0] for name in CASES}
    assert differenced | ROUNDS | OF_NO_REALS == functions
    assert not differenced & (ROUNDS | OF_NO_REALS)


def test_a_wrong_gradient_is_found():
    """Of a function whose gradient is cut off in one place."""
    x = torch.randn(3, dtype=torch.float64).requires_grad_()
    with pytest.raises(GradcheckError):
        gradcheck(lambda y: reference.swiglu(y, y.detach()), [x])
