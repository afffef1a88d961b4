"""How far a bfloat16 run is from the reference rounded at the same points, by position."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.model import Model
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from sala_compile.sala_ir.reference.arrays import split_heads
from sala_compile.sala_ir.reference.selection import block_scores
from tests.support.compiled import kernel_level_module


@dataclass(frozen=True, slots=True)
class Flip:
    """A position and layer where other blocks were read than in the reference.

    `gap` is by how much the reference prefers a block that it read alone over one that only the
    run read, relative to the larger score: a near tie has a small one.
    """

    position: int
    layer: int
    kv_head: int
    gap: float


@dataclass(frozen=True, slots=True)
class Deviation:
    """The largest difference of a logit at each position, in standard deviations of the logits.

    `flips` has the selections that differ, of a position only those of the first such layer.
    """

    by_position: np.ndarray
    flips: tuple[Flip, ...]

    @property
    def flipped(self) -> np.ndarray:
        """Whether a selection flipped at a position: bool [tokens]."""
        marks = np.zeros(len(self.by_position), bool)
        marks[[flip.position for flip in self.flips]] = True
        return marks

    def describe(self) -> str:
        """A line for each position that deviates most, and one for each flipped near tie."""
        worst = np.argsort(-self.by_position, kind="stable")[:5]
        lines = [f"position {at}: {self.by_position[at]:.4f} sd" for at in worst]
        lines += [
            f"near tie flipped: position {f.position}, layer {f.layer}, kv head {f.kv_head}, "
            f"scores {f.gap:.2%} apart"
            for f in self.flips
        ]
        return "\n".join([f"median {np.median(self.by_position):.4f} sd", *lines])


def measure(model: Model, checkpoint: Path, token_ids: np.ndarray) -> Deviation:
    """Run one call on a bfloat16 model and on the rounded reference of its checkpoint."""
    found, seen = model.logits(token_ids, observe=("selected_blocks",))
    module = kernel_level_module(checkpoint, Precision.BFLOAT16)
    with Checkpoint.open(checkpoint) as weights, _scores_kept() as scores:
        rounded = ReferenceModel(module, weights, Rounding.ROUNDED)
        wanted, inner = rounded.prefill(token_ids.tolist(), observe=("selected_blocks",))
    deviation = np.abs(found - wanted).max(axis=1) / wanted.std()
    return Deviation(deviation, tuple(_flips(seen, inner, scores)))


@contextmanager
def _scores_kept() -> Iterator[list[np.ndarray]]:
    """Collect the block scores [tokens, kv heads, blocks] of every selection of one sequence."""
    original = reference.select_blocks
    kept: list[np.ndarray] = []

    def select(q: Any, compressed: Any, batch: Any, **options: Any) -> Any:
        rounding, selection = options["operand_rounding"], options["selection"]
        queries = rounding(split_heads(q, options["heads"].num_heads))
        (part,) = batch
        keys, scale = compressed[part.slot], options["heads"].scale
        positions = part.positions
        kept.append(block_scores(queries, *keys, positions, scale=scale, selection=selection))
        return original(q, compressed, batch, **options)

    reference.select_blocks = select
    try:
        yield kept
    finally:
        reference.select_blocks = original


def _flips(seen: Any, inner: Any, scores: list[np.ndarray]) -> Iterator[Flip]:
    done: set[int] = set()
    layers = sorted(inner["selected_blocks"])
    for layer, score in zip(layers, scores, strict=True):
        found = seen["selected_blocks"][layer]["blocks"]
        wanted = inner["selected_blocks"][layer][0]
        rows, heads = np.nonzero((found != wanted).any(axis=-1))
        for row, head in zip(rows.tolist(), heads.tolist(), strict=True):
            if row not in done:
                gap = _gap(found[row, head], wanted[row, head], score[row, head])
                yield Flip(row, layer, head, gap)
        done |= set(rows.tolist())


def _gap(found: np.ndarray, wanted: np.ndarray, scores: np.ndarray) -> float:
    lost, won = np.setdiff1d(wanted, found), np.setdiff1d(found, wanted)
    best = scores[lost[lost >= 0]].max()
    return float((best - scores[won[won >= 0]].min()) / best)
