"""The weights that the twin begins with: random, with the outline of a lookup drawn in.

Two layers that fit each other find what followed an earlier occurrence of the current words.
Random weights come to that only after a long plateau, here as in `examples.needle.initial`:

- embeddings fill the first half of the hidden state and share a direction;
- two heads of layer 1 attend one and two tokens back, by the rotation alone, and write what is
  there into the second half;
- queries of the last layer see the first half as its keys see the second, in the pairs that
  rotate slowly; its values make what they find likelier.

Everything else is random and small; every value is trained.
"""

import torch

from examples.halo.decoder_parts import DecoderParts
from examples.halo.twin.configuration import config

Weights = dict[str, torch.Tensor]
SHARED = 0.6
"""The shared direction's part in an embedding of length 1."""
QUIET = 0.3
"""Factor of the output projections that are random."""
FAST, SLOW = 4, 6
"""Pairs of a head that tell single tokens apart, and those that hardly rotate over a text."""


def initial_weights(seed: int) -> Weights:
    """Return the parameters of all tensors; the same seed gives the same."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    weights: Weights = {}
    for name, shape in sorted(DecoderParts.of(config()).tensors.items()):
        if len(shape) == 1:
            weights[name] = torch.ones(shape)
        else:
            quiet = QUIET if "o_proj" in name or "down_proj" in name else 1.0
            weights[name] = normal(*shape) * quiet * shape[1] ** -0.5
    embedding, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    half = embedding.shape[1] // 2
    own, shared = normal(len(embedding), half), normal(half)
    shared *= half**0.5 / shared.norm()
    embedding *= 0.1
    embedding[:, :half] = (1 - SHARED**2) ** 0.5 * own + SHARED * shared
    head[:, :half] = own * embedding.shape[1] ** -0.5
    _draw_previous(weights, "model.layers.1.self_attn.", shared / half**0.5)
    last = config()["num_hidden_layers"] - 1
    _draw_lookup(weights, f"model.layers.{last}.self_attn.")
    return weights


def _draw_previous(weights: Weights, layer: str, shared: torch.Tensor) -> None:
    """Let head 0 look one token back and head 1 two, and write to the second half."""
    size, half = config()["head_dim"], len(shared)
    pairs = torch.arange(FAST)
    angles = config()["rope_theta"] ** (-2.0 * pairs / size)
    query, key = (weights[f"{layer}{name}_proj.weight"] for name in ("q", "k"))
    value, output = (weights[f"{layer}{name}_proj.weight"] for name in ("v", "o"))
    key[:size] *= 0.1
    key[pairs, :half] = 3.0 * shared
    value[:size, half:] *= 0.1
    for head, distance in enumerate((1, 2)):
        rows = slice(head * size, (head + 1) * size)
        query[rows] *= 0.1
        turned = distance * angles
        query[head * size + pairs, :half] = 3.0 * turned.cos()[:, None] * shared
        query[head * size + size // 2 + pairs, :half] = -3.0 * turned.sin()[:, None] * shared
        output[half:, rows] = 2.0 / distance * value[:size, :half].T
        output[:half, rows] *= 0.1
    for name in ("q", "k"):
        weights[f"{layer}{name}_norm.weight"] *= 1.6


def _draw_lookup(weights: Weights, layer: str) -> None:
    """Let queries see the first half as keys see the second; what is found is made likelier."""
    values = config()
    groups, size = values["num_key_value_heads"], values["head_dim"]
    repeats = values["num_attention_heads"] // groups
    query, key = (weights[f"{layer}{name}_proj.weight"] for name in ("q", "k"))
    value, output = (weights[f"{layer}{name}_proj.weight"] for name in ("v", "o"))
    half = key.shape[1] // 2
    is_slow = torch.arange(size) % (size // 2) >= size // 2 - SLOW
    key *= torch.where(is_slow, 1.0, 0.1).repeat(groups)[:, None]
    key[:, :half] *= 0.2
    value[:, half:] *= 0.2
    for head in range(groups * repeats):
        own = slice(head * size, (head + 1) * size)
        group = slice(head // repeats * size, (head // repeats + 1) * size)
        query[own] = torch.cat([key[group, half:], 0.2 * key[group, :half]], 1)
        output[:half, own] = 4.0 / repeats * value[group, :half].T
    for name in ("q", "k"):
        weights[f"{layer}{name}_norm.weight"] *= 1.5
