"""The least time of a step: whatever has to move moves once, and products run at their peak."""

from collections.abc import Sequence

from benchmarks.gpu.cards import EXPONENTIALS, Card
from benchmarks.gpu.released import Call
from benchmarks.gpu.roofline import (
    Ceilings,
    compressed_keys,
    lightning_decode,
    lightning_prefill,
    scoring,
    selection,
    sparse_attention,
    sparse_decode,
)
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.work import Case

ACTIVATIONS = 197e3
"""Bytes of activations that a token writes and reads in a layer where all is fused."""
UNION = 2.0
"""Length of a union of the lists of 8 queries, in lists."""


def floor_seconds(calls: Sequence[Call], phase: str, sizes: Sizes, case: Case, card: Card) -> float:
    """Of a decoded token, or of a chunk of a prefill whose mean context the case has.

    A decoded token reads the weights that it multiplies by, a row of the embedding, states,
    compressed keys and the blocks of its lists. A chunk multiplies; attention reads the union of 8
    lists from the second-level cache.
    """
    if phase == "decode":
        multiplied = [call for call in calls if not call.family.startswith("embedding")]
        weights = sum(call.matrix_bytes * call.times for call in multiplied) + 2.0 * sizes.hidden
        states = sizes.lightning_layers * lightning_decode(sizes, 1).bytes
        keys = sizes.kv_heads * compressed_keys(sizes, case.context) * sizes.head_dim * 2.0
        chosen = sparse_decode(sizes, 1).bytes
        return (weights + states + sizes.sparse_layers * (keys + chosen)) / card.dram
    rate = EXPONENTIALS * card.processors * card.hertz
    ceilings = Ceilings(card.tensor, card.dram, rate)
    linears = 2.0 * case.tokens * sizes.linear_weights / card.tensor
    lightning = lightning_prefill(sizes, case.tokens).seconds(ceilings)
    sparse = (
        scoring(sizes, case.tokens, case.context).seconds(ceilings)
        + selection(sizes, case.tokens, case.context).seconds(ceilings)
        + max(sparse_attention(sizes, case.tokens).seconds(ceilings), _cached(sizes, case, card))
    )
    layers = sizes.lightning_layers + sizes.sparse_layers
    moved = layers * case.tokens * ACTIVATIONS / card.dram
    return linears + sizes.lightning_layers * lightning + sizes.sparse_layers * sparse + moved


def _cached(sizes: Sizes, case: Case, card: Card) -> float:
    """Seconds in which the second-level cache gives keys and values to tiles of 8 queries."""
    read = UNION * sizes.budget * sizes.block * sizes.head_dim * 4.0
    return case.tokens / 8 * sizes.kv_heads * read / card.l2
