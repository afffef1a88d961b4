"""Sizes that a mixer's configuration gives as a whole: its heads, its selection of blocks."""

from dataclasses import dataclass
from math import gcd

import numpy as np


@dataclass(frozen=True, slots=True)
class Heads:
    """Query heads, key and value heads, columns of a head, and what scores are multiplied by."""

    num_heads: int
    kv_heads: int
    head_dim: int
    scale: float

    @property
    def group(self) -> int:
        """Query heads that share one key and value head."""
        return self.num_heads // self.kv_heads

    @property
    def columns(self) -> int:
        """Columns of the queries and of the output."""
        return self.num_heads * self.head_dim

    @property
    def kv_columns(self) -> int:
        """Columns of the keys, and of the values."""
        return self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class StateHeads:
    """Heads of a recurrence: states [key_dim, value_dim], each key head for several of them.

    Queries have the heads of the keys and are multiplied by `scale`.
    """

    num_heads: int
    key_heads: int
    key_dim: int
    value_dim: int
    scale: float

    @property
    def group(self) -> int:
        """Heads that share one query and key head."""
        return self.num_heads // self.key_heads

    @property
    def key_columns(self) -> int:
        """Columns of the queries, and of the keys."""
        return self.key_heads * self.key_dim

    @property
    def value_columns(self) -> int:
        """Columns of the values and of the output."""
        return self.num_heads * self.value_dim


@dataclass(frozen=True, slots=True)
class LatentHeads:
    """Heads of latent attention, all of which read one latent and one rotary part of a token.

    A query has `key_dim` columns that meet what is made of the latent, then `rotary_dim` columns
    that meet the rotary part; a value has `value_dim`. Scores are multiplied by `scale`.
    """

    num_heads: int
    key_dim: int
    rotary_dim: int
    latent_dim: int
    value_dim: int
    scale: float

    @property
    def query_dim(self) -> int:
        """Columns of the query of a head."""
        return self.key_dim + self.rotary_dim

    @property
    def cached_dim(self) -> int:
        """Columns that are kept of a token: latent, then rotary part."""
        return self.latent_dim + self.rotary_dim


NO_LIMIT = 3.4e38
"""What no step of a recurrence reaches."""

DENSE_BLOCK = 64
"""Tokens that dense attention takes at a time, at most, of a page."""


def dense_block(page_tokens: int) -> int:
    """Tokens of a page that dense attention takes at a time: the page, or a part of it."""
    return page_tokens if page_tokens <= DENSE_BLOCK else gcd(page_tokens, DENSE_BLOCK)


@dataclass(frozen=True, slots=True)
class BlockSelection:
    """What a sparse layer's configuration says about selection, lengths in tokens and blocks."""

    kernel_size: int
    kernel_stride: int
    block_size: int
    init_blocks: int
    window_blocks: int
    topk: int
    dense_len: int

    @property
    def budget(self) -> int:
        """Blocks that one query may read, forced ones included."""
        return self.topk + self.window_blocks

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """Least call length and name of each path of attention, in ascending order."""
        return ((0, "dense"), (self.dense_len, "sparse")) if self.dense_len else ((0, "sparse"),)


@dataclass(frozen=True, slots=True)
class PageRounding:
    """How full pages of keys and values are stored: as integers of so many bits, 4 or 8.

    `recent` is how many of a sequence's last tokens are kept unrounded: those of a page, and of a
    window of compressed keys that ends later.
    """

    key_bits: int
    value_bits: int
    recent: int


LEAST_SCALE = 2.0**-100
"""No scale of a rounded page is smaller, so that nothing is divided by zero."""


def scale_factor(levels: int) -> float:
    """What an extent of `levels` steps is multiplied by to be a scale: a float32 number.

    It is a little larger than its quotient: rounding to bfloat16 takes less away.
    """
    return float(np.float32((1 + 2.0**-8) / levels))
