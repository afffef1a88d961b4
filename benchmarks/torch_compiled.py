"""The torch model under `torch.compile`: the peer of `cpu_model.py` with fixed shapes.

Caches are as long as the context, so that every decode step has one graph, whatever the length; a
prompt of each length has one more. Only the dense regime, and prompts of whole chunks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.torch_model import CHUNK, SPARSE, LayerState, TorchSala

Step = Callable[[Tensor, Tensor], Tensor]
COMPILED: Callable[[Step], Step] = partial(torch.compile, dynamic=False, fullgraph=True)


@dataclass(slots=True)
class CompiledSala(TorchSala):
    """The same model; `first_calls` has seconds of the first call for each number of tokens."""

    context: int = 0
    first_calls: dict[int, float] = field(default_factory=dict)
    _step: Step | None = None

    def prepare(self, context: int, compiled: Callable[[Step], Step] = COMPILED) -> None:
        """Take the caches; nothing is compiled before it is called."""
        if context >= self.config["sparse_config"]["dense_len"]:
            raise NotImplementedError("the compiled peer has the dense regime only")
        self.context = context
        self._step = compiled(self.step)
        self.states = [self._state(kind) for kind in self.config["mixer_types"]]

    def reset(self) -> None:
        """Forget the sequence; the caches stay where they are."""
        self.length = 0
        for state in self.states:
            if state.recurrent is not None:
                state.recurrent.zero_()

    @torch.inference_mode()
    def forward(self, token_ids: Tensor) -> Tensor:
        """Append a prompt to an empty sequence, or one token to any."""
        rows = len(token_ids)
        if rows > 1 and (self.length or rows % CHUNK):
            raise NotImplementedError("the compiled peer reads whole prompts of whole chunks")
        start = time.perf_counter()
        positions = torch.arange(self.length, self.length + rows)
        assert self._step is not None, "prepare comes first"
        logits = self._step(token_ids, positions)
        self.first_calls.setdefault(rows, time.perf_counter() - start)
        self.length += rows
        return logits

    def _state(self, kind: str) -> LayerState:
        config = self.config
        if kind != SPARSE:
            dim = config["lightning_head_dim"]
            return LayerState(recurrent=torch.zeros(config["lightning_nh"], dim, dim))
        shape = (config["num_key_value_heads"], self.context, config["head_dim"])
        dtype = self.weights["model.norm.weight"].dtype
        return LayerState(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype))

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, state: LayerState, positions: Tensor
    ) -> Tensor:
        assert state.key is not None
        assert state.value is not None
        state.key.index_copy_(1, positions, key)
        state.value.index_copy_(1, positions, value)
        if query.shape[1] > 1:
            return F.scaled_dot_product_attention(
                query[None], key[None], value[None], is_causal=True, enable_gqa=True
            )
        mask = torch.arange(self.context)[None] <= positions[:, None]
        return F.scaled_dot_product_attention(
            query[None], state.key[None], state.value[None], attn_mask=mask, enable_gqa=True
        )

    def _recurrence(self, query: Tensor, key: Tensor, value: Tensor, state: LayerState) -> Tensor:
        """Lightning attention of all chunks at once, from an empty state; or of one token."""
        heads, tokens, dim = query.shape
        assert state.recurrent is not None
        slope = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)[:, None, None]
        query = query * dim**-0.5
        if tokens == 1:
            state.recurrent.copy_(torch.exp(-slope) * state.recurrent + key.mT @ value)
            return query @ state.recurrent
        slope = slope[..., None]
        q, k, v = (x.view(heads, -1, CHUNK, dim) for x in (query, key, value))
        step, chunk = torch.arange(CHUNK), torch.arange(tokens // CHUNK)
        inside = ((q @ k.mT) * _decay(slope, step[:, None] - step)) @ v
        added = (k * torch.exp(-slope * (CHUNK - 1 - step)[:, None])).mT @ v
        between = _decay(slope[..., 0] * CHUNK, chunk[:, None] - chunk)
        memory = (between @ added.flatten(2)).view_as(added)
        state.recurrent.copy_(memory[:, -1])
        before = F.pad(memory, (0, 0, 0, 0, 1, 0))[:, :-1]
        faded = q * torch.exp(-slope * (step + 1)[:, None])
        return (inside + faded @ before).view(heads, tokens, dim)


def _decay(slope: Tensor, distance: Tensor) -> Tensor:
    """exp(-slope * distance), 0 where the distance is negative."""
    return torch.exp(-slope * distance.clamp(min=0)) * (distance >= 0)
