"""Everything that is written: kernels compiled, weights packed, golden vectors, texts."""

from typing import Any

from sala_compile.codegen.integer_activations import activations_info
from sala_compile.codegen.kv_pages import page_effect, pages_info
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import Plan, graph_header
from sala_compile.codegen.progress import Progress
from sala_compile.codegen.quantization.quantization_report import quantization_info
from sala_compile.codegen.quantization.source import open_weights
from sala_compile.codegen.write import emit
from sala_compile.codegen.write.golden_file import write_golden
from sala_compile.codegen.write.library import write_library
from sala_compile.codegen.write.seeded_fills import seeded_weights
from sala_compile.runtime.artifact import Manifest, canonical_json
from sala_compile.runtime.artifact.graph_files import DEFINITION_NAME, GENERIC_NAME, GRAPH_NAME
from sala_compile.runtime.artifact.writer import PROGRAM_NAME, ArtifactWriter
from sala_compile.sala_ir.context import marked, print_module
from sala_compile.sala_ir.generic_form import print_generic
from sala_compile.sala_ir.irdl_definition import print_irdl


def write_files(
    writer: ArtifactWriter, plan: Plan, options: CompileOptions, progress: Progress
) -> Manifest:
    """Write every file but the manifest, which is returned."""
    targets = {
        lowered.name: write_library(writer, lowered, plan, progress) for lowered in plan.lowered
    }
    if any(target.runtime for target in targets.values()):
        writer.copy_file(emit.RUNTIME_NAME, emit.runtime_library())
    writer.write_bytes(PROGRAM_NAME, canonical_json(plan.program))
    source, digest = plan.source, ""
    header = graph_header(source, options).attributes(source.stage)
    writer.write_bytes(GRAPH_NAME, print_module(source.captured, header).encode())
    with marked(source.captured, header):
        writer.write_bytes(GENERIC_NAME, print_generic(source.captured).encode())
    writer.write_bytes(DEFINITION_NAME, print_irdl().encode())
    contents: dict[str, Any] = {}
    if options.is_random:
        contents["seeded"] = seeded_weights(plan)
        contents["activations"] = activations_info(options, plan.targets, source.captured, None)
        contents["kv"] = pages_info(options, plan.program, None)
    if not options.is_random:
        digest, contents = _write_weights(writer, plan, options, progress)
    return Manifest(
        model=emit.model_info(source.facts, source.raw, digest, source.end_tokens),
        attention=options.attention.value,
        dtype=options.dtype.value,
        context=options.context,
        chunk=options.chunk,
        targets=targets,
        versions=emit.package_versions(targets),
        tensors=emit.tensor_infos(plan.stored),
        passes=plan.passes,
        kernels=plan.kernels,
        **contents,
    )


def _write_weights(
    writer: ArtifactWriter, plan: Plan, options: CompileOptions, progress: Progress
) -> tuple[str, dict[str, Any]]:
    """Write what comes from the checkpoint: its digest, and the fields of the manifest."""
    checkpoint = plan.source.checkpoint
    assert checkpoint is not None, "weights are written from a checkpoint"
    for path in checkpoint.copied_files():
        writer.copy_file(path.relative_to(checkpoint.directory).as_posix(), path)
    with open_weights(plan.source, options, progress) as weights:
        size = sum(weight.nbytes for weight in plan.stored)
        with progress.stage("packing weights", size, unit="B") as advance:
            files = emit.write_weights(
                writer, plan.stored, weights.source, advance, weights.errors.measure
            )
        with progress.stage("hashing the checkpoint", checkpoint.nbytes, unit="B") as advance:
            digest = checkpoint.digest(advance)
        golden, effect = None, None
        if plan.has_operations:
            golden, effect = write_golden(writer, plan, options, weights.source, progress)
        moved = page_effect(plan.source, weights.source, options, progress)
        contents = {
            "weight_files": files,
            "golden": golden,
            "quantization": quantization_info(plan.source, options, weights),
            "activations": activations_info(options, plan.targets, plan.source.captured, effect),
            "kv": pages_info(options, plan.program, moved),
        }
    return digest, contents
