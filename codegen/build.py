"""Everything that is written: kernels compiled, weights packed, golden vectors, texts."""

import tempfile
from pathlib import Path

from codegen import emit
from codegen.abi import check_calls
from codegen.ceilings import ceiling_kernels
from codegen.golden import write_golden
from codegen.kernels.registry import family
from codegen.lowering import Lowered
from codegen.options import CompileOptions
from codegen.plan import Plan
from codegen.progress import Progress
from codegen.targets.cpu import compile_library, required_instructions
from runtime.artifact import GoldenKind, Manifest, ModelInfo, TargetInfo, canonical_json
from runtime.artifact.ceilings import ceilings_path
from runtime.artifact.writer import PROGRAM_NAME, ArtifactWriter
from sala_ir.context import print_module


def write_files(
    writer: ArtifactWriter, plan: Plan, options: CompileOptions, progress: Progress
) -> Manifest:
    """Write every file but the manifest, which is returned."""
    checkpoint = plan.source.checkpoint
    assert checkpoint is not None, "weights are written from a checkpoint"
    targets = {
        lowered.name: _write_library(writer, lowered, plan, progress) for lowered in plan.lowered
    }
    writer.copy_file(emit.RUNTIME_NAME, emit.runtime_library())
    writer.write_bytes(PROGRAM_NAME, canonical_json(plan.program))
    writer.write_bytes(emit.CAPTURED_NAME, print_module(plan.source.captured).encode())
    for path in checkpoint.copied_files():
        writer.copy_file(path.name, path)
    size = sum(weight.nbytes for weight in plan.stored)
    with progress.stage("packing weights", size, unit="B") as advance:
        weight_files = emit.write_weights(writer, plan.stored, checkpoint, advance)
    with progress.stage("hashing the checkpoint", checkpoint.nbytes, unit="B") as advance:
        digest = checkpoint.digest(advance)
    model = emit.model_info(plan.source.config, plan.source.raw, digest)
    kind = write_golden(writer, plan, options, progress)
    return _manifest(plan, options, model, targets, weight_files, kind)


def _write_library(
    writer: ArtifactWriter, lowered: Lowered, plan: Plan, progress: Progress
) -> TargetInfo:
    """Build and compile the kernels of a target."""
    path = emit.library_name(lowered.name)
    with (
        progress.stage(f"kernels for {lowered.name}", len(lowered.kernels) + 1) as advance,
        tempfile.TemporaryDirectory(prefix="sala-kernels-") as folder,
    ):
        functions = {}
        for kernel in lowered.kernels:
            spec = dict(kernel.spec)
            functions[kernel.symbol] = family(kernel.family).build(
                spec, lowered.target, lowered.schedules.of(kernel.symbol)
            )
            advance(1)
        check_calls(plan.program, lowered.name, functions)
        library = Path(folder, "kernels.so")
        compile_library(functions, lowered.target, library)
        writer.copy_file(path, library)
        instructions = required_instructions(functions, lowered.target)
        compile_library(ceiling_kernels(lowered.target, instructions), lowered.target, library)
        writer.copy_file(ceilings_path(path), library)
    return TargetInfo(
        library=path,
        runtime=emit.RUNTIME_NAME,
        mcpu=lowered.target.processor,
        instructions=instructions,
    )


def _manifest(
    plan: Plan,
    options: CompileOptions,
    model: ModelInfo,
    targets: dict[str, TargetInfo],
    weight_files: tuple[str, ...],
    kind: GoldenKind,
) -> Manifest:
    return Manifest(
        model=model,
        attention=options.attention.value,
        dtype=options.dtype.value,
        context=options.context,
        chunk=options.chunk,
        targets=targets,
        versions=emit.package_versions(),
        tensors=emit.tensor_infos(plan.stored),
        weight_files=weight_files,
        golden=kind,
        passes=plan.passes,
        kernels=plan.kernels,
    )
