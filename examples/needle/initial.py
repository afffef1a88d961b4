"""The weights that training begins with: random, with the outline of a lookup drawn in.

Looking up what followed an earlier occurrence of the current words takes two layers that fit each
other, and random weights find that only after a long plateau. So the beginning has it in outline:

- embeddings fill the first half of the hidden state and share a direction;
- the first Lightning layer writes the last two or three words into the second half: its queries
  and keys see only the shared direction, rotated so that the weight of distance d is sin(d);
- queries of the last sparse layer see the first half as its keys see the second, so that a word
  attends to the places that it stands just before, whose embeddings make the same token likelier.

Everything else is random and small; every value is trained.
"""

from functools import partial

import torch

from examples.needle.configuration import config

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, torch.Tensor]

SHARED = 0.6
"""The shared direction's part in an embedding of length 1."""

QUIET = 0.3
"""Factor of the output projections that are random."""


def initial_weights(shapes: Shapes, seed: int) -> Weights:
    """Return the parameters of all tensors; the same seed gives the same."""
    normal = partial(torch.randn, generator=torch.Generator().manual_seed(seed))
    weights = {name: _random(name, shape, normal) for name, shape in sorted(shapes.items())}
    vocabulary, hidden = shapes["lm_head.weight"]
    half = hidden // 2
    own, shared = normal((vocabulary, half)), normal(half)
    shared *= half**0.5 / shared.norm()
    embedding = weights["model.embed_tokens.weight"]
    embedding *= 0.1
    embedding[:, :half] = ((1 - SHARED**2) ** 0.5 * own + SHARED * shared) / config()["scale_emb"]
    weights["lm_head.weight"][:, :half] = 2.0 * own * hidden**-0.5
    _draw_recent_words(weights, "model.layers.1.self_attn.", shared / half**0.5)
    last = config()["num_hidden_layers"] - 1
    _draw_lookup(weights, f"model.layers.{last}.self_attn.")
    return {name: tensor.requires_grad_() for name, tensor in weights.items()}


def _random(name: str, shape: tuple[int, ...], normal: partial) -> torch.Tensor:
    if "norm" in name:
        return torch.ones(shape)
    quiet = QUIET if "o_proj" in name or "down_proj" in name else 1.0
    return normal(shape) * quiet * shape[1] ** -0.5


def _draw_recent_words(weights: Weights, layer: str, shared: torch.Tensor) -> None:
    """Let the heads of fast decay carry the last words from the first half to the second."""
    size, half = config()["lightning_head_dim"], len(shared)
    heads = config()["lightning_nh"] // 2
    for head in range(heads):
        rows = slice(head * size, (head + 1) * size)
        query, key = weights[f"{layer}q_proj.weight"][rows], weights[f"{layer}k_proj.weight"][rows]
        query *= 0.2
        key *= 0.2
        key[0, :half] = 3.0 * shared
        query[size // 2, :half] = -3.0 * shared
    rows = slice(0, heads * size)
    value, output = weights[f"{layer}v_proj.weight"], weights[f"{layer}o_proj.weight"]
    value[rows, half:] *= 0.1
    output[half:, rows] = 4.0 * value[rows, :half].T
    output[:half, rows] *= 0.1


def _draw_lookup(weights: Weights, layer: str) -> None:
    """Let queries see the first half as keys see the second; what is found is made likelier."""
    values = config()
    groups, size = values["num_key_value_heads"], values["head_dim"]
    repeats = values["num_attention_heads"] // groups
    key, value = weights[f"{layer}k_proj.weight"], weights[f"{layer}v_proj.weight"]
    query, output = weights[f"{layer}q_proj.weight"], weights[f"{layer}o_proj.weight"]
    half = key.shape[1] // 2
    key[:, :half] *= 0.2
    key[:, half:] *= LOOKUP_GAIN
    value[:, half:] *= 0.2
    for head in range(groups * repeats):
        own = slice(head * size, (head + 1) * size)
        group = slice(head // repeats * size, (head // repeats + 1) * size)
        query[own, :half] = key[group, half:]
        query[own, half:] *= 0.2
        output[:half, own] = value[group, :half].T * OUTPUT_GAIN / repeats


LOOKUP_GAIN = 3.0
"""How sharply the lookup tells apart, relative to a random projection."""

OUTPUT_GAIN = 8.0
"""How loud the lookup's result is, relative to a random projection."""
