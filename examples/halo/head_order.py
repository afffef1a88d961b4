"""Which of the teacher's heads each head of a linear layer begins as: decays belong to places.

A head that looks far back is of little use where the state forgets within a few tokens, and the
other way round; training by gradients does not move heads to other places.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from xdsl.ir import SSAValue

from examples.halo.decoder_parts import DecoderParts
from examples.halo.output_fit import PULL
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.transfer import Weights, inner_values
from sala_compile.sala_ir.dialect import LightningAttentionOp

READ_TOKENS = 4096
"""Tokens from which heads are judged; at most a batch more."""
Order = tuple[int, ...]
"""Of each head of the student, which of the teacher's it is."""
_ROWS = ("q_proj", "k_proj", "v_proj", "o_norm")


@torch.no_grad()
def head_orders(
    teacher: TorchDecoder, student: TorchDecoder, batches: Iterable[torch.Tensor]
) -> list[Order]:
    """Of each layer of an all-linear student the order of heads that lies nearest the teacher.

    The student has the teacher's heads in their own order. Each of them is tried at each place, on
    texts [texts, tokens] and the teacher's own input: what counts is the squared error of the
    head's part of the mixer, after the linear map of least squares.
    """
    heads = teacher.config["num_attention_heads"]
    sums = [_Sums(heads) for _ in teacher.parts.layers]
    tried = dict(student.weights)
    turned = TorchDecoder(student.config, tried, lightning=student.lightning)
    read = 0
    for ids in batches:
        values, own = teacher.begin(ids), turned.begin(ids)
        stream = teacher.stream(values)
        for layer, total in enumerate(sums):
            normal = teacher.normal(values, layer, stream)
            wanted = [*inner_values(teacher.parts, layer)[:1], teacher.parts.layers[layer].branch]
            read_out, branch = teacher.inner(values, layer, normal, wanted)
            targets = total.add_targets(read_out)
            for turn in range(heads):
                order = [(place + turn) % heads for place in range(heads)]
                tried.update(_layer_in_order(student.weights, layer, order, heads))
                (found,) = turned.inner(own, layer, normal, [_mixed(turned.parts, layer)])
                total.add(found, targets, order)
            stream = teacher.rest(values, layer, stream, branch)
        read += ids.numel()
        if read >= READ_TOKENS:
            break
    return [
        total.order(teacher.weights[f"model.layers.{layer}.self_attn.o_proj.weight"])
        for layer, total in enumerate(sums)
    ]


def in_order(weights: Mapping[str, torch.Tensor], orders: Sequence[Order]) -> Weights:
    """The weights of an all-linear student with the heads of each layer in another order.

    What new gates begin with is the same for all heads, and stays.
    """
    found = dict(weights)
    for layer, order in enumerate(orders):
        found |= _layer_in_order(weights, layer, order, len(order))
        name = f"model.layers.{layer}.self_attn.o_proj.weight"
        by_head = found[name].unflatten(1, (len(order), -1))
        found[name] = by_head[:, list(order)].flatten(1)
    return found


def _layer_in_order(
    weights: Mapping[str, torch.Tensor], layer: int, order: Sequence[int], heads: int
) -> Weights:
    """What gives and scales the values of a layer's heads: their rows in another order."""
    names = [
        f"model.layers.{layer}.self_attn.{name}.{kind}"
        for name in _ROWS
        for kind in ("weight", "bias")
    ]
    return {
        name: weights[name].unflatten(0, (heads, -1))[list(order)].flatten(0, 1)
        for name in names
        if name in weights
    }


def _mixed(parts: DecoderParts, layer: int) -> SSAValue:
    """What the recurrence of a layer gives, before its norm."""
    (op,) = (op for op in parts.layers[layer].mixer if isinstance(op, LightningAttentionOp))
    return op.out


class _Sums:
    """Of a layer, for each head and place, float64: products of outputs and of targets."""

    def __init__(self, heads: int) -> None:
        self.heads = heads
        self.inputs: dict[tuple[int, int], torch.Tensor] = {}
        self.mixed: dict[tuple[int, int], torch.Tensor] = {}
        self.targets: Any = 0.0

    def add_targets(self, targets: torch.Tensor) -> torch.Tensor:
        """Take in the teacher's rows [rows, heads * size]; float64 by head [heads, rows, size]."""
        y = self._by_head(targets)
        self.targets = self.targets + y.mT @ y
        return y

    def add(self, found: torch.Tensor, targets: torch.Tensor, order: Sequence[int]) -> None:
        """Take in rows [rows, heads * size] of the student, head `order[p]` at place p."""
        x = self._by_head(found)
        own, mixed = x.mT @ x, x.mT @ targets[list(order)]
        for place, head in enumerate(order):
            key = head, place
            self.inputs[key] = self.inputs.get(key, 0.0) + own[place]
            self.mixed[key] = self.mixed.get(key, 0.0) + mixed[place]

    def order(self, projection: torch.Tensor) -> Order:
        """The cheapest order; errors are those that the projection [hidden, heads * size] sees."""
        weights = self._by_head(projection)
        costs = torch.zeros(self.heads, self.heads, dtype=torch.float64)
        for (head, place), own in self.inputs.items():
            mixed = self.mixed[head, place]
            pull = PULL * own.diagonal().mean() * torch.eye(len(own), device=own.device)
            fit = torch.linalg.solve(own + pull, mixed)
            error = self.targets[head] - 2 * fit.mT @ mixed + fit.mT @ own @ fit
            costs[place, head] = ((weights[head] @ error) * weights[head]).sum()
        return tuple(int(head) for head in linear_sum_assignment(costs.numpy())[1])

    def _by_head(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.double().unflatten(1, (self.heads, -1)).movedim(1, 0)
