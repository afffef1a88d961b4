"""Rounded pages of a compilation: which targets have them, and what they change in the logits."""

from collections.abc import Mapping

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource
from sala_compile.codegen.progress import Progress
from sala_compile.codegen.quantization.calibration import calibration_for
from sala_compile.codegen.targets import Target
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.logit_effect import logit_effect
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.quantize_weights import QuantizeWeights
from sala_compile.passes.round_pages import PageStorage
from sala_compile.passes.support.callbacks import CAPTURED
from sala_compile.passes.support.kernel_choice import NoKernel
from sala_compile.runtime.artifact import LogitEffect, PagesInfo, Program
from sala_compile.runtime.errors import RequestError
from sala_compile.sala_ir.dialect import KvCacheType
from sala_compile.sala_ir.interpreter import ReferenceModel, RowSource
from sala_compile.sala_ir.reference import Rounding

PAGES = 3
"""Pages of the text that shows what rounding them changes."""


def check_page_targets(options: CompileOptions, targets: Mapping[str, Target]) -> None:
    """Raise RequestError if rounded pages are requested of a target that has none."""
    without = [name for name, target in targets.items() if not isinstance(target, CpuTarget)]
    if options.kv is not PageStorage.WIDE and without:
        raise RequestError(
            "kernels for GPUs read no rounded pages of keys and values yet",
            where=f"--kv {options.kv.value} --target {', '.join(without)}",
            expected="a target cpu",
            fix="leave --kv out, or compile for CPUs alone",
        )


def pages_info(
    options: CompileOptions, program: Program, effect: LogitEffect | None
) -> PagesInfo | None:
    """What the manifest says of rounded pages; None if pages are as they are."""
    if options.kv is PageStorage.WIDE:
        return None
    page = program.paging.page_tokens
    return PagesInfo(scheme=options.kv.value, page=page, effect=effect)


def page_effect(
    source: ModelSource, weights: RowSource, options: CompileOptions, progress: Progress
) -> LogitEffect | None:
    """How far rounded pages move the logits of a text, in float32 with the graph's roundings.

    The text is that of a calibration. None if pages are not rounded, or if the passes begin later.
    """
    if options.kv is PageStorage.WIDE or source.stage != CAPTURED or source.checkpoint is None:
        return None
    found: list[np.ndarray] = []
    page = 0
    with progress.stage("effect of rounded pages", 2, unit="runs") as advance:
        for storage in (options.kv, PageStorage.WIDE):
            module = source.captured.clone()
            passes = sala_pipeline(
                options.dtype,
                lambda op: NoKernel(()),
                options.quantization,
                page_tokens=page or options.page_size,
                storage=storage,
            )
            run_pipeline(module, passes, stop_after=QuantizeWeights.name)
            page = max(_page_sizes(module))
            ids = calibration_for(
                source.checkpoint.directory,
                source.facts.vocabulary,
                options.calibration,
                PAGES * page,
            ).token_ids
            model = ReferenceModel(module, weights, Rounding.ROUNDED, dtype=np.float32)
            found.append(np.asarray(model.prefill(ids)[page:], np.float64))
            advance(1)
    rounded, wide = found
    return logit_effect(wide, rounded) if len(wide) else None


def _page_sizes(module: ModuleOp) -> set[int]:
    kinds = (value.type for op in module.walk() for value in op.operands)
    return {kind.page_tokens.data for kind in kinds if isinstance(kind, KvCacheType)}
