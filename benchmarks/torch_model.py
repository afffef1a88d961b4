"""MiniCPM-SALA in plain torch eager: the peer that `cpu_model.py` times beside the runtime.

Written as a careful user would: bfloat16 weights and activations, `F.linear`, `F.rms_norm`,
`F.scaled_dot_product_attention`, the chunked form of Lightning attention, one gathered attention
for a sparse decode step. Prefill covers the dense regime; decode covers both.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

CHUNK = 64
SPARSE = "minicpm4"


@dataclass(slots=True)
class LayerState:
    """What one layer remembers: keys and values `[heads, tokens, dim]`, or a recurrent state."""

    key: Tensor | None = None
    value: Tensor | None = None
    recurrent: Tensor | None = None


@dataclass(slots=True)
class TorchSala:
    """Weights, configuration and state of one sequence."""

    config: dict
    weights: dict[str, Tensor]
    length: int = 0
    states: list[LayerState] = field(default_factory=list)

    @classmethod
    def load(cls, checkpoint: Path, dtype: torch.dtype = torch.bfloat16) -> "TorchSala":
        """Read every tensor of a checkpoint directory as `dtype`."""
        config = json.loads((checkpoint / "config.json").read_text())
        weights = {}
        for path in sorted(checkpoint.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                weights |= {name: file.get_tensor(name).to(dtype) for name in file.keys()}  # noqa: SIM118
        model = cls(config, weights)
        model.reset()
        return model

    def reset(self) -> None:
        """Forget the sequence."""
        self.length = 0
        self.states = [LayerState() for _ in self.config["mixer_types"]]

    @torch.inference_mode()
    def forward(self, token_ids: Tensor) -> Tensor:
        """Append `token_ids` [T] and return the last position's logits [vocabulary]."""
        positions = torch.arange(self.length, self.length + len(token_ids))
        logits = self.step(token_ids, positions)
        self.length += len(token_ids)
        return logits

    def step(self, token_ids: Tensor, positions: Tensor) -> Tensor:
        """`forward` for tokens at `positions` [T]; the length is the caller's."""
        config = self.config
        hidden = F.embedding(token_ids, self.weights["model.embed_tokens.weight"])
        hidden = hidden * config["scale_emb"]
        depth = config["scale_depth"] / math.sqrt(config["num_hidden_layers"])
        for index, kind in enumerate(config["mixer_types"]):
            name = f"model.layers.{index}"
            x = self._norm(hidden, f"{name}.input_layernorm")
            mixer = self._sparse if kind == SPARSE else self._lightning
            hidden = hidden + depth * mixer(x, f"{name}.self_attn", self.states[index], positions)
            x = self._norm(hidden, f"{name}.post_attention_layernorm")
            gated = F.silu(self._linear(x, f"{name}.mlp.gate_proj"))
            x = self._linear(
                gated * self._linear(x, f"{name}.mlp.up_proj"), f"{name}.mlp.down_proj"
            )
            hidden = hidden + depth * x
        last = self._norm(hidden[-1:], "model.norm")
        last = last / (config["hidden_size"] / config["dim_model_base"])
        tied = config.get("tie_word_embeddings", False)
        return self._linear(last, "model.embed_tokens" if tied else "lm_head")[0].float()

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.rms_norm(x, weight.shape, weight, self.config["rms_norm_eps"])

    def _heads(self, x: Tensor, name: str, heads: int) -> Tensor:
        return self._linear(x, name).view(len(x), heads, -1).transpose(0, 1)

    def _sparse(self, x: Tensor, name: str, state: LayerState, positions: Tensor) -> Tensor:
        heads, kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        query = self._heads(x, f"{name}.q_proj", heads)
        key, value = (self._heads(x, f"{name}.{part}_proj", kv_heads) for part in "kv")
        out = self._attention(query, key, value, state, positions)[0]
        out = out.transpose(0, 1).reshape(len(x), -1)
        return self._linear(
            out * torch.sigmoid(self._linear(x, f"{name}.o_gate")), f"{name}.o_proj"
        )

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, state: LayerState, positions: Tensor
    ) -> Tensor:
        """Attention of `[heads, T, dim]` over the past and themselves: `[1, heads, T, dim]`."""
        if state.key is not None and state.value is not None:
            key, value = torch.cat((state.key, key), 1), torch.cat((state.value, value), 1)
        state.key, state.value = key, value
        rows = query.shape[1]
        dense = key.shape[1] < self.config["sparse_config"]["dense_len"]
        if not dense and rows > 1:
            raise NotImplementedError("the peer prefills in the dense regime only")
        if not dense:
            key, value = self._gather(query, key, value)
        return F.scaled_dot_product_attention(
            query[None], key[None], value[None], is_causal=rows > 1, enable_gqa=True
        )

    def _gather(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the blocks that one query reads (InfLLM-V2, one decoded token)."""
        sparse = self.config["sparse_config"]
        block, stride = sparse["block_size"], sparse["kernel_stride"]
        kv_heads, tokens, dim = key.shape
        grouped = query.view(kv_heads, -1, dim) / math.sqrt(dim)
        fine, coarse = (
            key.unfold(1, sparse["kernel_size"] * level, stride * level).mean(-1)
            for level in (1, 4)
        )
        normaliser = (grouped @ coarse.mT).float().logsumexp(-1, keepdim=True)
        scores = ((grouped @ fine.mT).float() - normaliser).exp().sum(1)
        ratio, blocks = block // stride, -(-tokens // block)
        padded = F.pad(scores, (1, blocks * ratio - scores.shape[1]))
        pooled = F.max_pool1d(padded, ratio + 1, ratio)[:, :blocks]
        own, window = (tokens - 1) // block, sparse["window_size"] // block
        pooled[:, : sparse["init_blocks"]] = math.inf
        pooled[:, own - window :] = math.inf
        chosen = pooled.topk(min(blocks, sparse["topk"] + window)).indices.sort(-1).values
        index = (chosen[..., None] * block + torch.arange(block)).flatten(1)
        index = index[:, index[0] < tokens]
        index = index[..., None].expand(-1, -1, dim)
        return key.gather(1, index), value.gather(1, index)

    def _lightning(self, x: Tensor, name: str, state: LayerState, positions: Tensor) -> Tensor:
        config = self.config
        heads = config["lightning_nh"]
        query, key, value = (self._heads(x, f"{name}.{part}_proj", heads) for part in "qkv")
        query, key = self._norm(query, f"{name}.q_norm"), self._norm(key, f"{name}.k_norm")
        query, key = self._rope(query, positions), self._rope(key, positions)
        out = self._recurrence(query.float(), key.float(), value.float(), state).to(x.dtype)
        out = self._norm(out.transpose(0, 1).reshape(len(x), -1), f"{name}.o_norm")
        gate = torch.sigmoid(self._linear(x, f"{name}.z_proj"))
        return self._linear(out * gate, f"{name}.o_proj")

    def _rope(self, x: Tensor, positions: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        frequency = self.config["rope_theta"] ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = positions[:, None] * frequency
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        left, right = x[..., :half], x[..., half:]
        return torch.cat((left * cos - right * sin, right * cos + left * sin), -1)

    def _recurrence(self, query: Tensor, key: Tensor, value: Tensor, state: LayerState) -> Tensor:
        """Lightning attention in chunks of 64: float32 `[heads, tokens, dim]` in and out."""
        heads, tokens, dim = query.shape
        slope = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)[:, None, None]
        memory = (
            state.recurrent if state.recurrent is not None else query.new_zeros(heads, dim, dim)
        )
        query = query / math.sqrt(dim)
        parts = []
        for start in range(0, tokens, CHUNK):
            q, k, v = (t[:, start : start + CHUNK] for t in (query, key, value))
            step = torch.arange(q.shape[1])
            distance = step[:, None] - step
            decay = torch.exp(-slope * distance.clamp(min=0)) * (distance >= 0)
            inside = ((q @ k.mT) * decay) @ v
            before = (q * torch.exp(-slope * (step + 1)[:, None])) @ memory
            parts.append(inside + before)
            fade = torch.exp(-slope * (q.shape[1] - 1 - step)[:, None])
            memory = torch.exp(-slope * q.shape[1]) * memory + (k * fade).mT @ v
        state.recurrent = memory
        return torch.cat(parts, 1)
