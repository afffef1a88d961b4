"""What rounding keys and values changes in the outputs of attention, for several rules.

Runs a text through the reference in float32, keeps queries, keys and values of every layer, and
attends again with only the keys, or only the values, of all but the last page rounded. Prints the
root mean square of the change over the layers, compared with that of the outputs.

    python -m benchmarks.page_rounding MODEL.gguf --text README.md --tokens 640
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from xdsl.interpreter import Interpreter
from xdsl.ir import Operation

from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.passes.open_attention import OpenAttention
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.sala_ir.context import make_context
from sala_compile.sala_ir.dialect import AttendBlocksOp
from sala_compile.sala_ir.interpreter import ReferenceModel

QUERIES = 48
"""Queries at the end of the text whose outputs are compared."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Queries [tokens, kv heads, group, D], keys and values [tokens, kv heads, D] of a layer."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    scale: float


class Keep(Interpreter.Listener):
    """Keeps the operands of every attention, in float64."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def will_interpret_op(self, op: Operation, args: tuple[Any, ...]) -> None:
        """Note what an attention reads."""
        if not isinstance(op, AttendBlocksOp):
            return
        heads = op.heads.data
        keys, values = (np.asarray(each, np.float64) for each in args[1][0])
        shape = (len(args[0]), heads.kv_heads, heads.group, heads.head_dim)
        queries = np.asarray(args[0], np.float64).reshape(shape)
        self.layers.append(Layer(queries, keys, values, heads.scale))


def affine(x: np.ndarray, axis: int, bits: int) -> np.ndarray:
    """Rounded between the minimum and the maximum along an axis."""
    least = x.min(axis=axis, keepdims=True)
    scale = np.maximum((x.max(axis=axis, keepdims=True) - least) / ((1 << bits) - 1), 1e-30)
    return least + np.rint((x - least) / scale) * scale


def symmetric(x: np.ndarray, axis: int, bits: int) -> np.ndarray:
    """Rounded around 0, with a scale alone."""
    half = 1 << bits - 1
    above, below = x.max(axis=axis, keepdims=True), -x.min(axis=axis, keepdims=True)
    scale = np.maximum(np.maximum(above / (half - 1), below / half), 1e-30)
    return np.rint(x / scale) * scale


def rotated(x: np.ndarray, theta: float, sign: int) -> np.ndarray:
    """Rows [tokens, heads, D] rotated by their positions, or back."""
    half = x.shape[2] // 2
    angles = np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half) * sign
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    one, two = x[..., :half], x[..., half:]
    return np.concatenate([one * cos - two * sin, two * cos + one * sin], axis=2)


def attended(layer: Layer, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Outputs of the last queries."""
    count = len(keys)
    scores = np.einsum("tkgd,skd->tkgs", layer.q[count - QUERIES : count], keys) * layer.scale
    later = np.arange(count) > np.arange(count - QUERIES, count)[:, None]
    scores = np.where(later[:, None, None], -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("tkgs,skd->tkgd", weights / weights.sum(axis=-1, keepdims=True), values)


Rule = Callable[[np.ndarray], np.ndarray]


def rules(page: int, bits: int, theta: float) -> dict[str, tuple[str, Rule]]:
    """What is rounded, k or v, and how, by names."""

    def by_page(x: np.ndarray, how: Callable[..., np.ndarray] = affine) -> np.ndarray:
        return how(x.reshape(-1, page, *x.shape[1:]), 1, bits).reshape(x.shape)

    def by_group(x: np.ndarray, how: Callable[..., np.ndarray]) -> np.ndarray:
        return how(x.reshape(*x.shape[:2], -1, 32), 3, bits).reshape(x.shape)

    return {
        "keys by column, minimum and scale": ("k", by_page),
        "the same before the rotation": (
            "k",
            lambda x: rotated(by_page(rotated(x, theta, -1)), theta, 1),
        ),
        "keys by column, scale alone": ("k", lambda x: by_page(x, symmetric)),
        "keys by token": ("k", lambda x: affine(x, 2, bits)),
        "keys by token and 32 columns": ("k", lambda x: by_group(x, affine)),
        "values by token, minimum and scale": ("v", lambda x: affine(x, 2, bits)),
        "values by token, scale alone": ("v", lambda x: symmetric(x, 2, bits)),
        "values by token and 32 columns, scale alone": ("v", lambda x: by_group(x, symmetric)),
        "values by column": ("v", by_page),
    }


def change(layer: Layer, side: str, rule: Rule, page: int) -> float:
    """The change of the outputs, compared with them."""
    count = len(layer.k) // page * page
    sides = {"k": layer.k[:count], "v": layer.v[:count]}
    wanted = attended(layer, sides["k"], sides["v"])
    whole = sides[side]
    near = np.concatenate([rule(whole)[: count - page], whole[count - page :]])
    found = attended(layer, *(sides | {side: near}).values())
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


def captured(checkpoint: Path, text: Path, tokens: int) -> tuple[Sequence[Layer], float]:
    """The layers of a model on a text, and the base of its rotation."""
    with ExitStack() as stack:
        options = CompileOptions(checkpoint=checkpoint, output=None, dry_run=True)
        source = open_source(options, stack)
        assert source.checkpoint is not None
        ids = Tokenizer.from_files(source.checkpoint.directory).encode(text.read_text())
        OpenAttention().apply(make_context(), source.captured)
        keep = Keep()
        model = ReferenceModel(
            source.captured, source.checkpoint, dtype=np.float32, listeners=(keep,)
        )
        model.prefill(ids[:tokens], rows="last")
    return keep.layers, float(source.raw.get("rope_theta", 10000.0))


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--text", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--tokens", default=640, show_default=True)
@click.option("--page", default=64, show_default=True)
def main(checkpoint: Path, text: Path, tokens: int, page: int) -> None:
    """Print the table."""
    layers, theta = captured(checkpoint, text, tokens)
    print(f"{len(layers)} layers, pages of {page} tokens\n\n| | 4 bits | 8 bits |\n|---|---|---|")
    for name in rules(page, 4, theta):
        cells: list[str] = []
        for bits in (4, 8):
            side, rule = rules(page, bits, theta)[name]
            changes = [change(layer, side, rule, page) for layer in layers]
            cells.append(f"{np.sqrt(np.mean(np.square(changes))):.2g}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
