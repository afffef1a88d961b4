"""Stage 1: every linear layer by itself learns what the attention in its place gives."""

import torch

from examples.halo.conversion import Conversion, Weights, load_weights, save_weights
from examples.halo.stages.weight_transfer import (
    EVALUATION,
    WEIGHTS,
    judge_linear,
    read_measured,
)
from examples.halo.stages.weight_transfer import STAGE as TRANSFERRED
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.training.stage_training import StageTraining, trainable

STAGE = "1-alignment"


def align(conversion: Conversion, teacher: TorchDecoder) -> None:
    """Train all mixers in one pass of the teacher a batch, and judge the student.

    A layer's loss is the mean squared error of its mixer's branch on the teacher's own input,
    in units of the variance of the teacher's branch; layers do not see each other's errors.
    """
    folder = conversion.folder(STAGE)
    if (folder / EVALUATION).is_file():
        return
    weights = conversion.placed(load_weights(conversion.folder(TRANSFERRED) / WEIGHTS))
    mixers = {name: x for name, x in weights.items() if ".self_attn." in name}
    student = conversion.decoder(conversion.config(()), weights)
    variances = read_measured(conversion).variance
    options = conversion.options
    schedule = options.alignment
    training = StageTraining(
        folder,
        mixers,
        schedule,
        options.seed,
        conversion.clock,
        options.save_seconds,
        lambda line, steps, left: conversion.report(STAGE, line, steps, left),
    )

    def loss(step: int, part: int) -> dict[str, float]:
        ids = conversion.batch(1, step, part, schedule.batch, schedule.length)
        with conversion.products():
            errors = aligned_gradients(teacher, student, ids, variances, schedule.parts)
        return {"error": sum(errors) / len(errors), "median": sorted(errors)[len(errors) // 2]}

    with trainable(mixers):
        training.run(loss)
    save_weights(folder / WEIGHTS, weights)
    judge_linear(conversion, teacher, weights, STAGE)


def aligned_gradients(
    teacher: TorchDecoder,
    student: TorchDecoder,
    ids: torch.Tensor,
    variances: tuple[float, ...],
    parts: int = 1,
) -> list[float]:
    """Add the gradients of all layers for texts [texts, tokens]; each layer's relative error.

    Each layer's graph is freed before the next one's: memory is that of one mixer.
    """
    with torch.no_grad():
        values = teacher.begin(ids)
        own = student.begin(ids)
        stream = teacher.stream(values)
    errors = []
    for layer, variance in enumerate(variances):
        with torch.no_grad():
            normal = teacher.normal(values, layer, stream)
            branch = teacher.mixer(values, layer, normal)
        found = student.mixer(own, layer, normal)
        error = (found - branch).square().mean() / variance
        (error / (parts * len(variances))).backward()
        errors.append(float(error.detach()))
        with torch.no_grad():
            stream = teacher.rest(values, layer, stream, branch)
    return errors


def aligned_weights(conversion: Conversion) -> Weights:
    """The all-linear student after this stage."""
    return load_weights(conversion.folder(STAGE) / WEIGHTS)
