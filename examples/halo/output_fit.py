"""Output projections of linear layers, fitted to what the attention in their place gives."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from examples.halo.torch_decoder import TorchDecoder
from examples.halo.transfer import inner_values

PULL = 0.01
"""How much the copied projection counts: in mean squares of a column of the inputs."""


@dataclass
class _Sums:
    """Of a layer: products of the projection's inputs with themselves and with the targets."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take in rows of inputs and targets."""
        x, y = x.double(), y.double()
        self.inputs += x.T @ x
        self.targets += x.T @ y

    def solution(self, copied: torch.Tensor) -> torch.Tensor:
        """The projection [hidden, columns] of least squares, drawn towards the copied one."""
        pull = PULL * self.inputs.diagonal().mean()
        own = self.inputs + pull * torch.eye(len(self.inputs), dtype=torch.float64)
        wanted = self.targets + pull * copied.T.double()
        return torch.linalg.solve(own, wanted).T.float()


@torch.no_grad()
def fit_outputs(
    teacher: TorchDecoder, student: TorchDecoder, batches: Iterable[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """New `o_proj` weights, float32, of an all-linear student, from texts [texts, tokens].

    A layer's weight brings its mixer nearest to the teacher's, in squares, on the teacher's own
    input; all else of the student stays. One pass of the teacher serves all layers.
    """
    sums: list[_Sums] = []
    layers = range(len(student.parts.layers))
    names = [f"model.layers.{layer}.self_attn.o_proj" for layer in layers]
    for name in names:
        rows, columns = student.weights[f"{name}.weight"].shape
        zero = torch.zeros(columns, columns + rows, dtype=torch.float64)
        sums.append(_Sums(*zero.split([columns, rows], 1)))
    for ids in batches:
        values, own = teacher.begin(ids), student.begin(ids)
        stream = teacher.stream(values)
        for layer, total in enumerate(sums):
            normal = teacher.normal(values, layer, stream)
            branch = teacher.mixer(values, layer, normal)
            wanted = inner_values(student.parts, layer)[:1]
            (inputs,) = student.inner(own, layer, normal, wanted)
            bias = student.weights.get(f"{names[layer]}.bias")
            total.add(inputs.cpu(), (branch if bias is None else branch - bias).cpu())
            stream = teacher.rest(values, layer, stream, branch)
    return {
        f"{name}.weight": total.solution(student.weights[f"{name}.weight"].detach().cpu())
        for name, total in zip(names, sums, strict=True)
    }
