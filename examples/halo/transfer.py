"""Stage 0: the weights that a student takes from its teacher, and those that are new."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from xdsl.ir import SSAValue

from examples.halo.decoder_parts import DecoderParts
from examples.halo.teacher import Teacher
from examples.halo.torch_decoder import TorchDecoder
from sala_compile.sala_ir.dialect import LinearOp, WeightOp

GATE_SPREAD = 0.02
"""Standard deviation of new gates, whose sigmoids so begin near 1/2."""
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a teacher computes in its layers, on a few texts.

    `outputs` [heads * head_dim] of each layer: the root mean square of each column before the
    output projection; `queries`, `keys`: that of all values before the rotation; `variance`: of
    what the mixer adds to the stream, around its mean over the texts by column.
    """

    outputs: tuple[torch.Tensor, ...]
    queries: tuple[float, ...]
    keys: tuple[float, ...]
    variance: tuple[float, ...]


def measure(teacher: TorchDecoder, batches: Iterable[torch.Tensor]) -> Measured:
    """Run texts [texts, tokens] through the teacher and measure."""
    parts = teacher.parts
    sums = [_Sums() for _ in parts.layers]
    with torch.no_grad():
        for ids in batches:
            values = teacher.begin(ids)
            stream = teacher.stream(values)
            for layer, total in enumerate(sums):
                normal = teacher.normal(values, layer, stream)
                wanted = [*inner_values(parts, layer), parts.layers[layer].branch]
                found = teacher.inner(values, layer, normal, wanted)
                total.add(*found)
                stream = teacher.rest(values, layer, stream, found[-1])
    return Measured(
        tuple(each.output() for each in sums),
        tuple(each.root("queries") for each in sums),
        tuple(each.root("keys") for each in sums),
        tuple(each.spread() for each in sums),
    )


def transfer(
    student: Mapping[str, tuple[int, ...]],
    teacher: Teacher,
    measured: Measured,
    seed: int,
    attention_layers: Iterable[int] = (),
) -> Weights:
    """All tensors of a student, float32 of their own memory.

    What the teacher has is copied, keys and values expanded from its heads to the student's: new
    head i is old head i // group. Norms of queries and keys that it lacks are 1 in linear layers,
    and in `attention_layers` the root mean square that they take away. Gates are small random
    matrices, so they begin near 1/2: output norms begin at twice the measured root mean square of
    a column, and output projections of gated attention are doubled. Other new biases are 0.
    """
    attends = frozenset(attention_layers)
    return {
        name: _weight(name, shape, teacher, measured, seed, attends).clone()
        for name, shape in student.items()
    }


def _weight(
    name: str,
    shape: tuple[int, ...],
    teacher: Teacher,
    measured: Measured,
    seed: int,
    attends: frozenset[int],
) -> torch.Tensor:
    own = teacher.weights.get(name)
    pieces = name.split(".")
    kind = pieces[-2]
    layer = int(pieces[2]) if pieces[1] == "layers" else -1
    if own is not None:
        expanded = _expanded(own, shape, teacher) if kind in ("k_proj", "v_proj") else own
        assert tuple(expanded.shape) == shape, f"{name} is {list(own.shape)}, not {list(shape)}"
        return 2.0 * expanded if _is_gated_output(name, layer, attends) else expanded
    if kind == "o_norm":
        return 2.0 * measured.outputs[layer]
    if kind in ("q_norm", "k_norm"):
        roots = measured.queries if kind == "q_norm" else measured.keys
        return torch.full(shape, roots[layer] if layer in attends else 1.0)
    if kind in ("z_proj", "o_gate") and name.endswith("weight"):
        generator = torch.Generator().manual_seed(seed << 32 | zlib.crc32(name.encode()))
        return GATE_SPREAD * torch.randn(shape, generator=generator)
    assert name.endswith("bias"), f"nothing says what {name} begins with"
    return torch.zeros(shape)


def _is_gated_output(name: str, layer: int, attends: frozenset[int]) -> bool:
    return layer in attends and name.endswith("self_attn.o_proj.weight")


def _expanded(own: torch.Tensor, shape: tuple[int, ...], teacher: Teacher) -> torch.Tensor:
    """Rows of key-value heads, each head as many times as the student has heads of it."""
    if own.shape[0] == shape[0]:
        return own
    heads, size = teacher.kv_heads, teacher.head_dim
    by_head = own.reshape(heads, size, *own.shape[1:])
    return by_head.repeat_interleave(shape[0] // (heads * size), 0).reshape(shape)


def inner_values(parts: DecoderParts, layer: int) -> list[SSAValue]:
    """What the output projection reads, and what the projections of queries and keys give."""
    linears: dict[str, LinearOp] = {}
    for op in parts.layers[layer].mixer:
        if isinstance(op, LinearOp):
            weight: Any = op.weight.owner
            assert isinstance(weight, WeightOp), "captured linears read tensors"
            linears[weight.tensor_name.data.split(".")[-2]] = op
    return [linears["o_proj"].x, linears["q_proj"].result, linears["k_proj"].result]


class _Sums:
    """Sums over the rows of all texts, float64."""

    def __init__(self) -> None:
        self.rows = 0
        self.squares: dict[str, torch.Tensor] = {}
        self.total = torch.zeros((), dtype=torch.float64)

    def add(
        self, output: torch.Tensor, q: torch.Tensor, k: torch.Tensor, branch: torch.Tensor
    ) -> None:
        """Take in the values of some rows."""
        self.rows += len(output)
        named = {"outputs": output, "queries": q, "keys": k, "branch": branch}
        for name, value in named.items():
            squares = value.double().square().sum(0)
            self.squares[name] = self.squares.get(name, 0.0) + squares
        self.total = self.total + branch.double().sum(0)

    def output(self) -> torch.Tensor:
        """Root mean squares of the columns of the output, float32."""
        return (self.squares["outputs"] / self.rows).sqrt().float()

    def root(self, name: str) -> float:
        """Root mean square of all values."""
        return (self.squares[name].mean() / self.rows).sqrt().item()

    def spread(self) -> float:
        """Mean over the columns of the variance over the rows."""
        mean = self.total / self.rows
        return (self.squares["branch"] / self.rows - mean.square()).mean().item()
