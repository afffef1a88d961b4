"""Stage 1: every linear layer by itself learns what the attention in its place gives."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch

from examples.halo.conversion import Conversion, Weights, load_weights, save_weights
from examples.halo.options import Precision
from examples.halo.stages.weight_transfer import (
    EVALUATION,
    WEIGHTS,
    judge_linear,
    read_measured,
)
from examples.halo.stages.weight_transfer import STAGE as TRANSFERRED
from examples.halo.teacher_branches import Branches, TeacherBranches, window_of
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.training.stage_training import StageTraining, trainable

STAGE = "1-alignment"
Run = Callable[[Callable[[int], float], Iterable[int]], Iterable[float]]
"""`map`, or one that computes several layers at once."""


def align(conversion: Conversion, teacher: TorchDecoder) -> None:
    """Train all mixers at once, on the same passes of the teacher, and judge the student.

    A layer's loss is the mean squared error of its mixer's branch on the teacher's own input,
    in units of the variance of the teacher's branch; layers do not see each other's errors, and
    the gradients of each are clipped by themselves.
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
        group=lambda name: name.split(".")[2],
    )

    passes, parts = options.passes, schedule.parts
    branches = TeacherBranches(
        teacher,
        lambda number: conversion.batch(1, *divmod(number, parts), schedule.batch, schedule.length),
        torch.float32 if options.precision is Precision.FLOAT32 else torch.bfloat16,
        passes,
        options.seed,
        window_of(passes, schedule.batch * schedule.length),
    )

    with layer_workers(options.device) as run:

        def one_step(step: int, part: int) -> dict[str, float]:
            with conversion.products():
                ids, wanted = branches.turn(step * parts + part)
            errors = aligned_gradients(
                student, ids, wanted, variances, parts, conversion.products, run
            )
            return {"error": sum(errors) / len(errors), "median": sorted(errors)[len(errors) // 2]}

        with trainable(mixers):
            training.run(one_step)
    save_weights(folder / WEIGHTS, weights)
    judge_linear(conversion, teacher, weights, STAGE)


def aligned_gradients(
    student: TorchDecoder,
    ids: torch.Tensor,
    wanted: Branches,
    variances: tuple[float, ...],
    parts: int = 1,
    products: Callable[[], AbstractContextManager[Any]] = nullcontext,
    run: Run = map,
) -> list[float]:
    """Add the gradients of all layers for texts [texts, tokens]; each layer's relative error.

    A layer's graph is freed when it is done: memory is that of as many mixers as run at once.
    Each is computed inside of `products`, which autocast makes a matter of its thread.
    """
    with torch.no_grad(), products():
        values = student.begin(ids)

    def one_layer(layer: int) -> float:
        normal, branch = (each.float() for each in wanted[layer])
        with products():
            found = student.mixer(values, layer, normal)
            error = (found - branch).square().mean() / variances[layer]
            (error / parts).backward()
        return float(error.detach())

    return list(run(one_layer, range(len(variances))))


@contextmanager
def layer_workers(device: str) -> Iterator[Run]:
    """On a CPU layers run side by side, one thread each: their products are small."""
    if torch.device(device).type != "cpu":
        yield map
        return
    alone = partial(torch.set_num_threads, 1)
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=alone) as pool:
        yield pool.map


def aligned_weights(conversion: Conversion) -> Weights:
    """The all-linear student after this stage."""
    return load_weights(conversion.folder(STAGE) / WEIGHTS)
