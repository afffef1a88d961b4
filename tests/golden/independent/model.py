"""MiniCPM and HypeNet as their descriptions have them: float64, loops, nothing of the project.

A model is called as a published class is: with a whole prompt or with one token after what came
before. What a call is (its last position) decides how its tokens are computed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

Config = Mapping[str, Any]
Tensors = Mapping[str, np.ndarray]


def _rms(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _rotated(x: np.ndarray, angles: np.ndarray, factor: float) -> np.ndarray:
    """x [tokens, heads, D], angles [tokens, D/2]: dimension i with i + D/2."""
    low, high = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles)[:, None] * factor, np.sin(angles)[:, None] * factor
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


class Model:
    """A checkpoint, and one sequence of it."""

    def __init__(self, config: Config, tensors: Tensors):
        self.config = config
        self.tensors = {name: each.astype(np.float64) for name, each in tensors.items()}
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads", self.heads)
        self.size = config.get("head_dim") or config["hidden_size"] // self.heads
        self.eps = config.get("rms_norm_eps", 1e-6)
        self.layers = config["num_hidden_layers"]
        self.states: list[dict[str, Any]] = [{} for _ in range(self.layers)]
        self.length = 0
        self.hidden: list[np.ndarray] = []
        self.selected: list[np.ndarray] = []
        self.margin = math.inf

    scales = (1.0, 1.0, 1.0)
    """Of looked up embeddings, of branches, and of what the head reads."""
    tied = False

    def call(self, ids: np.ndarray) -> np.ndarray:
        """The logits [tokens, vocabulary] of the next tokens, which are one call."""
        first, self.length = self.length, self.length + len(ids)
        positions = np.arange(first, self.length)
        embed, branch, head = self.scales
        table = self.tensors["model.embed_tokens.weight"]
        h, self.hidden, self.selected = table[ids] * embed, [], []
        self.hidden.append(h)
        for layer in range(self.layers):
            name = f"model.layers.{layer}."
            x = _rms(h, self.tensors[f"{name}input_layernorm.weight"], self.eps)
            h = h + branch * self.mixer(layer, x, positions)
            x = _rms(h, self.tensors[f"{name}post_attention_layernorm.weight"], self.eps)
            gate, up = (self.linear(f"{name}mlp.{part}_proj", x) for part in ("gate", "up"))
            h = h + branch * self.linear(f"{name}mlp.down_proj", gate * _sigmoid(gate) * up)
            self.hidden.append(h)
        last = _rms(h, self.tensors["model.norm.weight"], self.eps) * head
        tied = self.config.get("tie_word_embeddings", self.tied)
        return last @ (table if tied else self.tensors["lm_head.weight"]).T

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        """x W^T, and b if the checkpoint has one."""
        y = x @ self.tensors[f"{name}.weight"].T
        return y + self.tensors[f"{name}.bias"] if f"{name}.bias" in self.tensors else y

    def split(self, name: str, x: np.ndarray, part: str) -> np.ndarray:
        """A projection by heads: [tokens, heads, D]."""
        return self.linear(f"{name}self_attn.{part}_proj", x).reshape(len(x), -1, self.size)

    def mixer(self, layer: int, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """What a layer adds, before the scale of branches."""
        raise NotImplementedError

    def keep(self, layer: int, **new: np.ndarray) -> list[np.ndarray]:
        """What the layer has had so far, and the new rows."""
        state = self.states[layer]
        for name, rows in new.items():
            state[name] = np.concatenate([state[name], rows]) if name in state else rows
        return [state[name] for name in new]

    def attend(
        self,
        q: np.ndarray,
        k: np.ndarray,
        v: np.ndarray,
        positions: np.ndarray,
        allowed: Callable[[int, int], np.ndarray] | None = None,
    ) -> np.ndarray:
        """Softmax over what a query may read: all before it, or what `allowed(row, head)` says."""
        out, group = np.zeros_like(q), self.heads // self.kv_heads
        for row, position in enumerate(positions):
            for head in range(self.kv_heads):
                seen = np.arange(position + 1) if allowed is None else allowed(row, head)
                mine = slice(head * group, (head + 1) * group)
                scores = q[row, mine] @ k[seen, head].T / math.sqrt(self.size)
                out[row, mine] = _softmax(scores) @ v[seen, head]
        return out.reshape(len(q), -1)


class MiniCPM(Model):
    """Llama with scales, LongRoPE and, with a `sparse_config`, InfLLM-V2 in every layer."""

    tied = True
    SPARSE: ClassVar[Config] = {
        **{"kernel_size": 32, "kernel_stride": 16, "block_size": 64, "init_blocks": 1},
        **{"window_size": 2048, "topk": 64, "dense_len": 8192, "use_nope": False},
    }

    @property
    def scales(self) -> tuple[float, float, float]:
        """Those of muP."""
        config = self.config
        branch = config.get("scale_depth", 1.0) / math.sqrt(self.layers)
        head = config.get("dim_model_base", 1.0) / config["hidden_size"]
        return config.get("scale_emb", 1.0), branch, head

    def angles(self, positions: np.ndarray) -> tuple[np.ndarray, float]:
        """Rotary angles [tokens, D/2] of this call, and the factor on cosines and sines."""
        rope = self.config.get("rope_scaling") or {}
        inverse = self.config.get("rope_theta", 10000.0) ** (
            -2.0 * np.arange(self.size // 2) / self.size
        )
        if rope.get("rope_type", rope.get("type")) != "longrope":
            return positions[:, None] * inverse, 1.0
        most, first = (
            self.config["max_position_embeddings"],
            rope["original_max_position_embeddings"],
        )
        is_long = most > first or self.length > first
        factors = np.array(rope["long_factor" if is_long else "short_factor"])
        scale = math.sqrt(1 + math.log(most / first) / math.log(first))
        return positions[:, None] / factors * inverse, scale

    def mixer(self, layer: int, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Attention to all, or to the blocks that compressed keys choose."""
        name = f"model.layers.{layer}."
        raw_q, raw_k, v = (self.split(name, x, part) for part in "qkv")
        angles = self.angles(positions)
        q, k = _rotated(raw_q, *angles), _rotated(raw_k, *angles)
        k, v, raw_k = self.keep(layer, k=k, v=v, raw=raw_k)
        given = self.config.get("sparse_config")
        sparse = None if given is None else {**self.SPARSE, **given}
        allowed = None
        if sparse is not None and self.length >= sparse["dense_len"]:
            by = (raw_q, raw_k) if sparse["use_nope"] else (q, k)
            allowed = self._chosen(*by, positions, sparse)
        out = self.attend(q, k, v, positions, allowed)
        return self.linear(f"{name}self_attn.o_proj", out)

    def _chosen(
        self, q: np.ndarray, k: np.ndarray, positions: np.ndarray, sparse: Config
    ) -> Callable[[int, int], np.ndarray]:
        """What each query reads, by compressed keys at two levels."""
        block, stride = sparse["block_size"], sparse["kernel_stride"]
        levels = []
        for factor in (1, 4):
            size, step = factor * sparse["kernel_size"], factor * stride
            starts = range(0, len(k) - size + 1, step)
            means = [k[start : start + size].mean(0) for start in starts]
            ends = np.array([start + size - 1 for start in starts])
            levels.append((np.array(means).reshape(-1, *k.shape[1:]), ends))
        (fine, fine_ends), (coarse, coarse_ends) = levels
        group, ratio = self.heads // self.kv_heads, block // stride
        window = sparse["window_size"] // block
        budget = sparse["topk"] + window
        total = -(-self.length // block)
        mask = np.zeros((self.kv_heads, len(q), total), np.uint8)
        for row, position in enumerate(positions):
            own = position // block
            forced = [b for b in range(own + 1) if b < sparse["init_blocks"] or b >= own - window]
            for head in range(self.kv_heads):
                scores = np.zeros(len(fine))
                if (coarse_ends <= position).any():
                    seen = fine_ends <= position
                    for query in q[row, head * group : (head + 1) * group]:
                        a = query / math.sqrt(self.size)
                        level = coarse[coarse_ends <= position, head] @ a
                        most = level.max()
                        normal = most + math.log(np.exp(level - most).sum())
                        scores[seen] += np.exp(fine[seen, head] @ a - normal)
                pooled = {
                    b: scores[max(0, b * ratio - 1) : b * ratio + ratio].max()
                    for b in range(own + 1)
                    if b not in forced
                }
                ranked = sorted(pooled, key=lambda b: (-pooled[b], b))
                free = max(0, budget - len(forced))
                if 0 < free < len(ranked):
                    taken, refused = pooled[ranked[free - 1]], pooled[ranked[free]]
                    if taken > refused:  # a window of two blocks may be the best of both
                        self.margin = min(self.margin, 1 - refused / taken)
                mask[head, row, [*forced, *ranked[:free]]] = 1
        self.selected.append(mask)
        keys = np.arange(len(k))

        def allowed(row: int, head: int) -> np.ndarray:
            return keys[(mask[head, row, keys // block] > 0) & (keys <= positions[row])]

        return allowed


class HypeNet(Model):
    """Lightning layers and attention, normalised per head; queries may be scaled by position."""

    def mixer(self, layer: int, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """The mixer that the config names."""
        kinds = self.config.get("mixer_types") or ["attn"] * self.layers
        kind = self._attention if kinds[layer] == "attn" else self._lightning
        return kind(layer, f"model.layers.{layer}.", x, positions)

    def _angles(self, positions: np.ndarray) -> np.ndarray:
        theta = self.config.get("rope_theta", 10000.0)
        return positions[:, None] * theta ** (-2.0 * np.arange(self.size // 2) / self.size)

    def _attention(self, layer: int, name: str, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        q, k, v = (self.split(name, x, part) for part in "qkv")
        q = _rms(q, self.tensors[f"{name}self_attn.q_norm.weight"], self.eps)
        k = _rms(k, self.tensors[f"{name}self_attn.k_norm.weight"], self.eps)
        if self.config.get("attn_use_rope", True):
            q, k = (_rotated(part, self._angles(positions), 1.0) for part in (q, k))
        scaling = self.config.get("attn_logits_scaling")
        if isinstance(scaling, str):
            words = scaling.split()
            a = float(words[1]) if len(words) > 1 else 362.0
            q = q * (np.log(positions + a) / math.log(int(a)))[:, None, None]
        elif scaling is not None:
            q = q * scaling
        k, v = self.keep(layer, k=k, v=v)
        out = self.attend(q, k, v, positions)
        if self.config.get("attn_use_output_gate", False):
            out = out * _sigmoid(x @ self.tensors[f"{name}self_attn.o_gate.weight"].T)
        return self.linear(f"{name}self_attn.o_proj", out)

    def _lightning(self, layer: int, name: str, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        config = self.config
        heads = config.get("lightning_nh", self.heads)
        kv_heads = config.get("lightning_nkv", self.kv_heads)
        q, k, v = (self.split(name, x, part) for part in "qkv")
        if config.get("lightning_use_qk_norm", False):
            q = _rms(q, self.tensors[f"{name}self_attn.q_norm.weight"], self.eps)
            k = _rms(k, self.tensors[f"{name}self_attn.k_norm.weight"], self.eps)
        if config.get("lightning_use_rope", True):
            q, k = (_rotated(part, self._angles(positions), 1.0) for part in (q, k))
        k, v = (np.repeat(part, heads // kv_heads, axis=1) for part in (k, v))
        scale = {"1/sqrt(d)": self.size**-0.5, "1/d": 1 / self.size}.get(
            config.get("lightning_scale", "1/sqrt(d)"), 1.0
        )
        decay = np.exp(-_slopes(heads))[:, None, None]
        state = self.states[layer].get("S", np.zeros((heads, self.size, self.size)))
        rows = []
        for query, key, value in zip(q, k, v, strict=True):
            state = decay * state + key[:, :, None] * value[:, None, :]
            rows.append(np.einsum("hd,hde->he", query * scale, state).reshape(-1))
        self.states[layer]["S"] = state
        out = np.array(rows)
        if config.get("lightning_use_output_norm", False):
            out = _rms(out, self.tensors[f"{name}self_attn.o_norm.weight"], self.eps)
        if config.get("lightning_use_output_gate", False):
            out = out * _sigmoid(self.linear(f"{name}self_attn.z_proj", x))
        return self.linear(f"{name}self_attn.o_proj", out)


def _slopes(heads: int) -> np.ndarray:
    power = 2 ** int(math.log2(heads))
    first = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    rest = [2 ** (-8 * (2 * i + 1) / (2 * power)) for i in range(heads - power)]
    return np.array([*first, *rest], np.float32).astype(np.float64)
