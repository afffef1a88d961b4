"""The forms of mixers that transformers computes with torch, of one layer, without projections."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers.models.falcon_h1 import modeling_falcon_h1 as falcon
from transformers.models.kimi_linear import modeling_kimi_linear as kimi
from transformers.models.minimax import modeling_minimax as minimax
from transformers.models.qwen3_next import modeling_qwen3_next as qwen
from transformers.models.qwen4_exp import modeling_qwen4_exp as indexed

from benchmarks.mixer_cases import Case

Work = Callable[[], object]


def torch_form(case: Case) -> Work:
    """A call of torch's form of a case, on random values of float32, or bfloat16 where ours are."""
    torch.manual_seed(0)
    forms: dict[str, Callable[[Case], Work]] = {
        "lightning_attention": _lightning,
        "short_convolution": _convolution,
        "attend_latents": _latent,
        "attend_pools": _selected,
        "select_pools": _indexer,
    }
    form = forms.get(case.mixer.kernel)
    if form is None:
        form = _space if "groups" in case.mixer.shape else _delta
    work = form(case)

    def run() -> object:
        with torch.inference_mode():
            return work()

    return run


def _delta(case: Case) -> Work:
    heads, keys, size = (case.mixer.shape[n] for n in ("heads", "key_heads", "size"))
    tokens, channels = case.tokens, keys == heads
    qk = [torch.randn(1, tokens, heads, size) for _ in range(2)]
    value, beta = torch.randn(1, tokens, heads, size), torch.rand(1, tokens, heads)
    g = -torch.rand(1, tokens, heads, *((size,) if channels else ()))
    state = torch.randn(1, heads, size, size)
    module: Any = kimi if channels else qwen
    name = {
        (True, True): "recurrent_kimi_delta_attention",
        (True, False): "chunk_kimi_delta_attention",
        (False, True): "torch_recurrent_gated_delta_rule",
        (False, False): "torch_chunk_gated_delta_rule",
    }[channels, case.generated]
    function = getattr(module, name)
    return lambda: function(
        *qk,
        value,
        g=g,
        beta=beta,
        initial_state=state,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )


def _space(case: Case) -> Work:
    shape, tokens = case.mixer.shape, case.tokens
    heads, groups, size, state = (shape[n] for n in ("heads", "groups", "size", "state"))
    x, dt = torch.randn(1, tokens, heads, size), torch.randn(1, tokens, heads)
    b, c = (torch.randn(1, tokens, groups, state) for _ in range(2))
    rate, skip, bias = -torch.rand(heads), torch.randn(heads), torch.randn(heads)
    past = torch.randn(1, heads, size, state)
    if case.generated:
        wide = rate[:, None, None].expand(heads, size, state)
        own = skip[:, None].expand(heads, size), bias[:, None].expand(heads, size)
        step = dt[:, 0, :, None].expand(1, heads, size)
        given = (past, x[:, 0], step, wide, b[:, 0], c[:, 0], *own)
        return lambda: falcon.mamba2_selective_state_update(*given, dt_softplus=True)
    return lambda: falcon.mamba2_chunk_scan(
        *(x, dt, rate, b, c),
        chunk_size=256,
        D=skip,
        dt_bias=bias,
        initial_states=past,
        dt_softplus=True,
        return_final_states=True,
    )


def _lightning(case: Case) -> Work:
    heads, size = case.mixer.shape["heads"], case.mixer.shape["size"]
    config = minimax.MiniMaxConfig(
        hidden_size=64, num_attention_heads=heads, num_hidden_layers=8, head_dim=size
    )
    module: Any = minimax.MiniMaxLightningAttention(config, 0).eval()
    for name in ("qkv_proj", "norm", "out_proj", "act_fn"):
        setattr(module, name, nn.Identity())
    module.output_gate = _NoGate()
    qkv = torch.randn(1, case.tokens, 3 * heads * size)
    past = torch.randn(1, heads, size, size)
    cache = None
    if case.generated:
        cache = SimpleNamespace(
            get_linear_cache=lambda layer: past, set_linear_cache=lambda layer, state: None
        )
    return lambda: module(qkv, None, None, cache)


class _NoGate(nn.Module):
    """A gate that is the same for all values."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """One zero."""
        return torch.zeros(())


def _latent(case: Case) -> Work:
    """Keys and values made of all latents, then eager attention: what a cached step computes."""
    shape, length = case.mixer.shape, case.history + case.tokens
    heads, latent, rotary, key, value = (
        shape[n] for n in ("heads", "latent", "rotary", "key", "value")
    )
    kind = torch.bfloat16
    rows, turned = torch.randn(1, length, latent, dtype=kind), torch.randn(1, 1, length, rotary)
    weight = torch.randn(heads * (key + value), latent, dtype=kind)
    query = torch.randn(1, heads, case.tokens, key + rotary, dtype=kind)
    turned = turned.to(kind).expand(1, heads, length, rotary)
    mask = torch.full((case.tokens, length), float("-inf"), dtype=kind).triu(case.history + 1)
    if most := case.mixer.most:
        left_out = torch.rand(case.tokens, length).topk(length - most).indices
        mask = torch.zeros(case.tokens, length, dtype=kind).scatter(1, left_out, float("-inf"))
    module = SimpleNamespace(num_key_value_groups=1, training=False)

    def work() -> object:
        made = nn.functional.linear(rows, weight).view(1, length, heads, key + value)
        keys, values = made.transpose(1, 2).split([key, value], dim=-1)
        both = torch.cat([keys, turned], dim=-1)
        scale = (key + rotary) ** -0.5
        return kimi.eager_attention_forward(module, query, both, values, mask, scale)

    return work


def _selected(case: Case) -> Work:
    """Eager attention to all of the past, under a mask of what an indexer has chosen."""
    shape, length = case.mixer.shape, case.history + case.tokens
    heads, kv_heads, size = (shape[n] for n in ("heads", "kv_heads", "size"))
    kind = torch.bfloat16
    query, gate = (torch.randn(1, heads, case.tokens, size, dtype=kind) for _ in range(2))
    keys, values = (torch.randn(1, kv_heads, length, size, dtype=kind) for _ in range(2))
    chosen = torch.randperm(length)[: shape["budget"]]
    mask = torch.full((case.tokens, length), torch.finfo(kind).min, dtype=kind)
    mask[:, chosen] = 0
    mask = mask.masked_fill(torch.ones_like(mask).triu(case.history + 1) > 0, mask.min())
    module = SimpleNamespace(num_key_value_groups=heads // kv_heads, training=False)

    def work() -> object:
        scale = size**-0.5
        out, _ = indexed.eager_attention_forward(module, query, keys, values, mask, scale)
        return out * torch.sigmoid(gate.transpose(1, 2))

    return work


def _indexer(case: Case) -> Work:
    """Scores of all tokens as `DeepseekV32Indexer` computes them, and the best of each row."""
    shape, length = case.mixer.shape, case.history + case.tokens
    heads, size, count = (shape[n] for n in ("heads", "size", "count"))
    q = torch.randn(1, case.tokens, heads, size, dtype=torch.bfloat16)
    keys = torch.randn(1, length, size, dtype=torch.bfloat16)
    weights = torch.randn(1, case.tokens, heads)
    mask = torch.full((case.tokens, length), float("-inf")).triu(case.history + 1)

    def work() -> object:
        scores = torch.matmul(q.float(), keys.transpose(-1, -2).float().unsqueeze(1))
        scores = nn.functional.relu(scores * size**-0.5)
        found = torch.matmul(weights.unsqueeze(-2), scores).squeeze(-2) + mask
        return found.topk(count, dim=-1).indices.to(torch.int32)

    return work


def _convolution(case: Case) -> Work:
    columns, taps = case.mixer.shape["columns"], case.mixer.shape["taps"]
    x, weight = torch.randn(1, columns, case.tokens), torch.randn(columns, taps)
    if case.generated:
        past = torch.randn(1, columns, taps - 1)
        return lambda: falcon.causal_conv1d_update(x, past, weight, None, "silu")
    return lambda: falcon.causal_conv1d_fn(x, weight, None, "silu")
