"""Stages 3 and 4: the hybrid learns from the teacher's distributions, then from long texts."""

from collections.abc import Callable
from pathlib import Path

import torch

from examples.halo.conversion import Conversion, Weights, load_weights, save_weights
from examples.halo.decoder_parts import DecoderParts
from examples.halo.evaluation import evaluate
from examples.halo.files import write_json
from examples.halo.losses import cross_entropy, divergence
from examples.halo.stages.alignment import aligned_weights
from examples.halo.stages.selection import STAGE as SELECTION
from examples.halo.stages.selection import chosen_layers
from examples.halo.stages.weight_transfer import EVALUATION, WEIGHTS, read_measured
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.training.schedule import Schedule
from examples.halo.training.stage_training import Loss, StageTraining, trainable
from examples.halo.transfer import transfer
from sala_compile.sala_ir.frontends import AttentionMode

DISTILLED, TUNED = "3-distillation", "4-fine-tuning"


def assemble(conversion: Conversion, teacher: TorchDecoder) -> None:
    """The hybrid: the teacher's weights where attention stays, aligned ones elsewhere.

    Attention loses its rotation and gains a gate here, as in the published recipe.
    """
    folder = conversion.folder(SELECTION)
    if (folder / EVALUATION).is_file():
        return
    chosen = chosen_layers(conversion)
    tensors = DecoderParts.of(conversion.config(chosen)).tensors
    measured, seed = read_measured(conversion), conversion.options.seed
    weights = transfer(tensors, conversion.source, measured, seed, chosen)
    for name, tensor in aligned_weights(conversion).items():
        is_mixer = ".self_attn." in name
        if is_mixer and int(name.split(".")[2]) not in chosen:
            weights[name] = tensor.float()
    save_weights(folder / WEIGHTS, weights)
    _judge(conversion, teacher, conversion.placed(weights), folder)


def distil(conversion: Conversion, teacher: TorchDecoder) -> None:
    """Train all weights of the hybrid on KL(teacher || student); attention is dense."""
    schedule = conversion.options.distillation

    def loss_of(student: TorchDecoder) -> Loss:
        def loss(step: int, part: int) -> dict[str, float]:
            ids = conversion.batch(3, step, part, schedule.batch, schedule.length)
            with conversion.products():
                with torch.no_grad():
                    wanted = teacher.final(ids)
                ours = student.final(ids, recompute=conversion.options.recompute)
                found = divergence(student, ours, teacher, wanted)
            (found / schedule.parts).backward()
            return {"divergence": float(found.detach())}

        return loss

    _train(conversion, teacher, (SELECTION, DISTILLED), schedule, loss_of, AttentionMode.DENSE)


def tune(conversion: Conversion, teacher: TorchDecoder) -> None:
    """Train all weights on the next tokens of long texts; blocks are selected if it has them."""
    schedule = conversion.options.fine_tuning

    def loss_of(student: TorchDecoder) -> Loss:
        def loss(step: int, part: int) -> dict[str, float]:
            ids = conversion.batch(4, step, part, schedule.batch, schedule.length)
            with conversion.products():
                ours = student.final(ids, recompute=conversion.options.recompute)
                found = cross_entropy(student, ours, ids)
            (found / schedule.parts).backward()
            return {"loss": float(found.detach())}

        return loss

    _train(conversion, teacher, (DISTILLED, TUNED), schedule, loss_of, AttentionMode.CONFIG)


def _train(
    conversion: Conversion,
    teacher: TorchDecoder,
    stages: tuple[str, str],
    schedule: Schedule,
    loss_of: Callable[[TorchDecoder], Loss],
    attention: AttentionMode,
) -> None:
    """Train all weights from those of one stage to those of the next, and judge them."""
    before, stage = (conversion.folder(each) for each in stages)
    if (stage / EVALUATION).is_file():
        return
    weights = conversion.placed(load_weights(before / WEIGHTS))
    config, options = conversion.config(chosen_layers(conversion)), conversion.options
    training = StageTraining(
        stage,
        weights,
        schedule,
        options.seed,
        conversion.clock,
        options.save_seconds,
        lambda line, steps, left: conversion.report(stages[1], line, steps, left),
    )
    with trainable(weights):
        training.run(loss_of(conversion.decoder(config, weights, attention)))
    save_weights(stage / WEIGHTS, weights)
    _judge(conversion, teacher, weights, stage)


def _judge(conversion: Conversion, teacher: TorchDecoder, weights: Weights, folder: Path) -> None:
    config = conversion.config(chosen_layers(conversion))
    student = conversion.decoder(config, weights)
    with conversion.products():
        found = evaluate(teacher, student, conversion.held_batches(conversion.options.length))
    write_json(folder / EVALUATION, found)
