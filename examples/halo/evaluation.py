"""How far a student is from its teacher, on texts that it was not trained on."""

import math
from collections.abc import Mapping, Sequence

import torch

from examples.halo.losses import cross_entropy, divergence
from examples.halo.torch_decoder import Branch, TorchDecoder


@torch.no_grad()
def evaluate(
    teacher: TorchDecoder, student: TorchDecoder, batches: Sequence[torch.Tensor]
) -> dict[str, float]:
    """Divergence in nats a token, perplexity of both, and the share of equal likeliest tokens."""
    sums = dict.fromkeys(("divergence", "student", "teacher", "agreement"), 0.0)
    for ids in batches:
        ours, theirs = student.final(ids), teacher.final(ids)
        same = student.logits(ours).argmax(-1) == teacher.logits(theirs).argmax(-1)
        sums["divergence"] += float(divergence(student, ours, teacher, theirs))
        sums["student"] += float(cross_entropy(student, ours, ids))
        sums["teacher"] += float(cross_entropy(teacher, theirs, ids))
        sums["agreement"] += float(same.double().mean())
    means = {name: total / len(batches) for name, total in sums.items()}
    return {
        "divergence": means["divergence"],
        "perplexity": math.exp(means["student"]),
        "teacher_perplexity": math.exp(means["teacher"]),
        "agreement": means["agreement"],
    }


@torch.no_grad()
def layer_errors(
    teacher: TorchDecoder, student: TorchDecoder, batches: Sequence[torch.Tensor]
) -> list[float]:
    """Of each layer the squared error of its mixer on the teacher's input, in its variance.

    The variance is that of the teacher's mixer around the mean of each column.
    """
    errors = [0.0] * len(teacher.parts.layers)
    outputs: list[list[torch.Tensor]] = [[] for _ in errors]
    for ids in batches:
        values, own = teacher.begin(ids), student.begin(ids)
        stream = teacher.stream(values)
        for layer in range(len(errors)):
            normal = teacher.normal(values, layer, stream)
            branch = teacher.mixer(values, layer, normal)
            errors[layer] += float((student.mixer(own, layer, normal) - branch).square().sum())
            outputs[layer].append(branch)
            stream = teacher.rest(values, layer, stream, branch)
    whole = [torch.cat(each).double() for each in outputs]
    spreads = [float((each - each.mean(0)).square().sum()) for each in whole]
    return [error / spread for error, spread in zip(errors, spreads, strict=True)]


def mixers_of(
    student: TorchDecoder, ids: torch.Tensor, layers: Sequence[int]
) -> Mapping[int, Branch]:
    """The student's mixers of some layers, to take the teacher's places on these texts."""
    values = student.begin(ids)
    return {
        layer: lambda normal, layer=layer: student.mixer(values, layer, normal) for layer in layers
    }
