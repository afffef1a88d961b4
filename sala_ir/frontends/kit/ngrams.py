"""Embeddings of hashed n-grams of token ids, which join the residual streams of some layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import (
    ConcatWeightsOp,
    ConvolutionWindowType,
    NgramEmbeddingOp,
    ResidualAddOp,
    ScoreStreamsOp,
    SigmoidOp,
    SpreadStreamsOp,
    TokenWindowType,
    columns_of,
    round_up,
)
from sala_compile.sala_ir.dialect.ngrams import MOST_ROWS
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.convolution import short_convolution
from sala_compile.sala_ir.frontends.kit.fields import MAX_HEADS, Refuse
from sala_compile.sala_ir.frontends.kit.gated_streams import GatedStreams
from sala_compile.sala_ir.frontends.kit.ngram_hashes import multipliers, primes_from
from sala_compile.sala_ir.frontends.kit.step import StepWriter

IDS, WINDOW, TABLE = "ngram_ids", "ngram_window", "ple.ple_embedding"
LEAST = 1e-6
"""The least product of a key and a query before its root."""


@dataclass(frozen=True, slots=True)
class Ngrams:
    """Parameters of the embeddings of a model, at the `layers`: orders 2 to `order`.

    Every order has `heads`, each a prime number of rows from `base` on that no other has; all
    together have `columns`. `multiple` divides the rows of a table, which comes in `shards`. A
    segment begins after the id `end`. `taps` are those of a convolution of what is added.
    """

    layers: Sequence[int]
    order: int
    heads: int
    columns: int
    base: int
    multiple: int
    shards: int
    seed: int
    vocabulary: int
    end: int
    taps: int

    @property
    def head_count(self) -> int:
        """Heads of all orders."""
        return (self.order - 1) * self.heads

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first field that does not fit the others."""
        count, columns = self.head_count, self.columns
        if count > MAX_HEADS or columns % count:
            expected = f"a number whose product with {self.order - 1} orders divides "
            expected += f"ple_embed_dim, {columns}, and is at most {MAX_HEADS}"
            raise refuse("heads_per_ngram", self.heads, expected, "correct the field")
        most = MOST_ROWS // 4 // count // len(self.layers)
        for name, found in (
            ("ngram_vocab_size_base", self.base),
            ("make_ngram_vocab_size_divisible_by", self.multiple),
        ):
            if found > most:
                expected = f"at most {most}, so that numbers of rows fit int32"
                raise refuse(name, found, expected, "larger ones are not supported")

    def states(self, layer: int, columns: int) -> Mapping[str, StateType]:
        """States of a layer by kind, of streams of so many columns in all; none of other layers."""
        if layer not in self.layers:
            return {}
        tokens = self.order * (self.taps - 1)
        return {
            IDS: TokenWindowType(self.order - 1, f32),
            WINDOW: ConvolutionWindowType(tokens, columns, f32),
        }

    def numbers(self, root: str) -> Mapping[str, Sequence[int]]:
        """What checkpoints store of the hashes; names begin with `root`."""
        found: dict[str, Sequence[int]] = {}
        for layer in self.layers:
            place, sizes = f"{root}layers.{layer}.{TABLE}", self._sizes(layer)
            found[f"{place}.layer_multipliers"] = self._multipliers(layer)
            found[f"{place}.ngram_heads_vocab_sizes"] = sizes
            found[f"{place}.ngram_heads_offsets"] = tuple(accumulate(sizes[:-1], initial=0))
        return found

    def emit(
        self, step: StepWriter, batch: SSAValue, x: SSAValue, streams: GatedStreams
    ) -> SSAValue:
        """The streams with what the n-grams of each token add, gated, and its convolution."""
        layer, count = step.layer, streams.count
        if layer not in self.layers:
            return x
        assert layer is not None, "one of the layers"
        rows, size = self._rows(step, batch, layer), columns_of(x) // count
        key = step.linear(rows, "ple.key_proj", columns_of(x))
        value = step.linear(rows, "ple.value_proj", size)
        key, query = (
            streams.normal(step, part, f"ple.norm_{name}")
            for name, part in (("key", key), ("query", x))
        )
        op = ScoreStreamsOp(key, query, streams=count, scale=size**-0.5, least=LEAST, layer=layer)
        gains = step.emit(SigmoidOp(step.emit(op, "scores"), layer=layer), "gains")
        spread = SpreadStreamsOp(value, gains=gains, streams=count, layer=layer)
        gated = step.emit(spread, "gated")
        normal = streams.normal(step, gated, "ple.norm_conv")
        near = short_convolution(
            step, batch, normal, "ple.conv1d", WINDOW, self.taps, dilation=self.order
        )
        added = step.emit(ResidualAddOp(gated, near, layer=layer), "added")
        return step.emit(ResidualAddOp(x, added, layer=layer), "streams")

    def _rows(self, step: StepWriter, batch: SSAValue, layer: int) -> SSAValue:
        """Rows of the table, whose shards are as equal as those of torch.chunk."""
        sizes = self._sizes(layer)
        rows, columns = round_up(sum(sizes), self.multiple), self.columns // self.head_count
        part = -(-rows // self.shards)
        shards = [
            step.weight(
                f"{step.prefix}{TABLE}.ngram_embedding.shard_{number}.weight",
                (min(part, rows - first), columns),
            )
            for number, first in enumerate(range(0, rows, part))
        ]
        table = shards[0]
        if len(shards) > 1:
            table = step.emit(ConcatWeightsOp(shards, layer=layer), "table")
        op = NgramEmbeddingOp(
            step.arguments["tokens"],
            table,
            step.state(IDS),
            batch,
            multipliers=self._multipliers(layer),
            sizes=sizes,
            end=self.end,
            layer=layer,
        )
        step.update(**{IDS: op.window_out})
        return step.emit(op, "ngrams", IDS)

    def _sizes(self, layer: int) -> tuple[int, ...]:
        count, index = self.head_count, self.layers.index(layer)
        primes = primes_from(self.base, len(self.layers) * count)
        return primes[index * count : (index + 1) * count]

    def _multipliers(self, layer: int) -> tuple[int, ...]:
        return multipliers(self.seed, self.layers.index(layer), self.order, self.vocabulary)
