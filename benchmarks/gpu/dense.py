"""A dense 8B model of Qwen3-8B's shape in torch with flash attention: the peer of the whole model.

Random bf16 weights, chunked prefill over a preallocated cache, grouped-query attention through
`scaled_dot_product_attention` aligned at the lower right, fused norms where torch has them.

    python -m benchmarks.gpu.dense build/gpu build/gpu/results --part dense
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.marks import predicted
from benchmarks.gpu.part import part
from benchmarks.gpu.results import Document
from sala_compile.runtime.common.units import format_tokens


@dataclass(frozen=True, slots=True)
class DenseShape:
    """Sizes of a dense grouped-query model; the defaults are Qwen3-8B's."""

    hidden: int = 4096
    intermediate: int = 12288
    layers: int = 36
    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    vocabulary: int = 151936
    theta: float = 1e6
    eps: float = 1e-6


class DenseModel:
    """Weights and the cache of one sequence."""

    def __init__(self, shape: DenseShape, capacity: int, device: str, dtype: torch.dtype) -> None:
        """Random weights, and room for `capacity` tokens."""
        self.shape, self.length = shape, 0
        generator = torch.Generator(device).manual_seed(0)

        def weight(rows: int, columns: int) -> Tensor:
            made = torch.empty(rows, columns, device=device, dtype=dtype)
            return made.normal_(std=columns**-0.5, generator=generator)

        width, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.embedding = weight(shape.vocabulary, shape.hidden)
        self.head = weight(shape.vocabulary, shape.hidden)
        self.layers = [
            {
                "qkv": weight(width + 2 * keys, shape.hidden),
                "out": weight(shape.hidden, width),
                "gate_up": weight(2 * shape.intermediate, shape.hidden),
                "down": weight(shape.hidden, shape.intermediate),
            }
            for _ in range(shape.layers)
        ]
        self.ones = torch.ones(shape.hidden, device=device, dtype=dtype)
        self.cache = torch.zeros(
            shape.layers, 2, shape.kv_heads, capacity, shape.head_dim, device=device, dtype=dtype
        )
        half = torch.arange(0, shape.head_dim, 2, device=device, dtype=torch.float32)
        self.frequency = shape.theta ** (-half / shape.head_dim)

    @torch.inference_mode()
    def forward(self, token_ids: Tensor) -> Tensor:
        """Append `token_ids` [T]; the logits [vocabulary] behind the last of them."""
        shape = self.shape
        positions = torch.arange(self.length, self.length + len(token_ids), device=token_ids.device)
        angle = positions[:, None] * self.frequency
        hidden = F.embedding(token_ids, self.embedding)
        cos, sin = angle.cos().to(hidden.dtype), angle.sin().to(hidden.dtype)
        for index, layer in enumerate(self.layers):
            x = F.rms_norm(hidden, self.ones.shape, self.ones, shape.eps)
            hidden = hidden + F.linear(self._attention(index, x, cos, sin), layer["out"])
            x = F.rms_norm(hidden, self.ones.shape, self.ones, shape.eps)
            gate, up = F.linear(x, layer["gate_up"]).chunk(2, -1)
            hidden = hidden + F.linear(F.silu(gate) * up, layer["down"])
        self.length += len(token_ids)
        last = F.rms_norm(hidden[-1:], self.ones.shape, self.ones, shape.eps)
        return F.linear(last, self.head)[0].float()

    def _attention(self, index: int, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        shape, tokens = self.shape, len(x)
        width, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        merged = F.linear(x, self.layers[index]["qkv"]).split((width, keys, keys), -1)
        query, key, value = (
            part.view(tokens, -1, shape.head_dim).transpose(0, 1) for part in merged
        )
        scale = self.ones[: shape.head_dim]
        query, key = (F.rms_norm(part, scale.shape, scale, shape.eps) for part in (query, key))
        end = self.length + tokens
        self.cache[index, 0, :, self.length : end] = _rotated(key, cos, sin)
        self.cache[index, 1, :, self.length : end] = value
        out = F.scaled_dot_product_attention(
            _rotated(query, cos, sin)[None],
            self.cache[index, 0, :, :end][None],
            self.cache[index, 1, :, :end][None],
            attn_mask=causal_lower_right(tokens, end) if tokens > 1 else None,
            enable_gqa=True,
        )
        return out[0].transpose(0, 1).reshape(tokens, -1)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), -1)


def measure(
    model: DenseModel,
    document: Document,
    budget: Budget,
    marks: Sequence[int],
    chunk: int,
    *,
    steps: int,
) -> None:
    """Write cumulative prefill seconds and decode seconds per token at every mark that fits."""
    device = model.embedding.device
    missing = [mark for mark in marks if format_tokens(mark) not in document]
    ids = torch.randint(0, model.shape.vocabulary, (marks[-1],), device=device)
    model.forward(ids[:chunk])  # libraries choose and load their kernels
    model.length, spent = 0, 0.0
    for mark in missing:
        points = sorted((row["tokens"], row["prefill_seconds"]) for row in document.rows)
        whole = predicted(points, mark)
        budget.require(None if whole is None else whole - spent)
        while model.length < mark:
            count = min(chunk, mark - model.length)
            spent += _seconds(model, ids[model.length : model.length + count], budget.clock)
        times = [_decode_seconds(model, ids[:1], budget.clock) for _ in range(steps)]
        document.add(
            format_tokens(mark),
            tokens=mark,
            prefill_seconds=spent,
            decode_seconds=statistics.median(times),
        )


def _seconds(model: DenseModel, ids: Tensor, clock: Callable[[], float]) -> float:
    begin = clock()
    model.forward(ids).argmax().item()
    return clock() - begin


def _decode_seconds(model: DenseModel, token: Tensor, clock: Callable[[], float]) -> float:
    seconds = _seconds(model, token, clock)
    model.length -= 1
    return seconds


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--marks", type=int, nargs="+", default=[1 << 16, 1 << 17, 1 << 18])
    parser.add_argument("--chunk", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=10)


def main() -> None:
    """Measure and write the rows."""
    with part(__doc__, _arguments) as mine:
        options = mine.options
        model = DenseModel(DenseShape(), options.marks[-1] + 1, options.device, torch.bfloat16)
        mine.document.note(model="dense 8B (Qwen3-8B's shape), bf16")
        measure(
            model, mine.document, mine.budget, options.marks, options.chunk, steps=options.steps
        )
        mine.document.note(peak_bytes=torch.cuda.max_memory_allocated())


if __name__ == "__main__":
    main()
