"""The library of a target: its kernels built, held against the program, compiled and written."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.lowering import Lowered
from sala_compile.codegen.plan import Plan
from sala_compile.codegen.program.abi import check_calls
from sala_compile.codegen.progress import Advance, Progress
from sala_compile.codegen.targets import cubins_name, library_name
from sala_compile.codegen.targets.cpu import CpuTarget, required_instructions
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write import emit
from sala_compile.codegen.write.ceiling_kernels import ceiling_kernels
from sala_compile.codegen.write.cpu_library import compile_library
from sala_compile.runtime.artifact import TargetInfo, canonical_json
from sala_compile.runtime.artifact.ceilings import ceilings_path
from sala_compile.runtime.artifact.contract import Contract
from sala_compile.runtime.artifact.writer import ArtifactWriter

CUDA = "cuda"
"""Architecture of a GPU's library in the manifest."""


def write_library(
    writer: ArtifactWriter, lowered: Lowered, plan: Plan, progress: Progress
) -> TargetInfo:
    """Build and compile the kernels of a target for the program of a plan, and for no other."""
    target = lowered.target
    with progress.stage(f"kernels for {lowered.name}", 2 * len(lowered.kernels)) as advance:
        kernels: dict[str, Any] = {}
        declared: dict[str, Arguments] = {}
        for kernel in lowered.kernels:
            chosen = family(kernel.family, target.kind)
            described = (kernel.spec, target, lowered.schedules.of(kernel.symbol))
            declared[kernel.symbol] = chosen.parameters(*described)
            kernels[kernel.symbol] = chosen.build(*described)
            advance(1)
        check_calls(plan.program, lowered.name, declared)
        contract = Contract(
            program=hashlib.sha256(canonical_json(plan.program)).hexdigest(),
            vocabulary=plan.source.facts.vocabulary,
        )
        if isinstance(target, CudaTarget):
            return _write_cubins(writer, lowered.name, target, kernels, contract, advance)
        return _write_shared_object(writer, lowered, target, kernels, contract, advance)


def _write_shared_object(
    writer: ArtifactWriter,
    lowered: Lowered,
    target: CpuTarget,
    functions: Mapping[str, Any],
    contract: Contract,
    advance: Advance,
) -> TargetInfo:
    path = library_name(lowered.name)
    specs = (dict(kernel.spec) for kernel in lowered.kernels)
    found = {spec.get("x_bits") for spec in specs}
    integers = sorted(bits for bits in found if isinstance(bits, int))
    with tempfile.TemporaryDirectory(prefix="sala-kernels-") as folder:
        library = Path(folder, "kernels.so")
        instructions = required_instructions(functions, target)
        contract = contract.model_copy(update={"instructions": instructions})
        compile_library(functions, target, library, contract, advance)
        writer.copy_file(path, library)
        compile_library(ceiling_kernels(target, instructions, integers), target, library)
        writer.copy_file(ceilings_path(path), library)
    return TargetInfo(
        library=path,
        runtime=emit.RUNTIME_NAME,
        mcpu=target.processor,
        instructions=instructions,
    )


def _write_cubins(
    writer: ArtifactWriter,
    name: str,
    target: CudaTarget,
    kernels: Mapping[str, Any],
    contract: Contract,
    advance: Advance,
) -> TargetInfo:
    from sala_compile.codegen.write.gpu_library import build_library  # needs Triton

    path, cubins = library_name(name), cubins_name(name)
    built = build_library(kernels, target, cubins, advance)
    table = built.table.model_copy(update={"contract": contract})
    writer.write_bytes(path, canonical_json(table))
    writer.write_bytes(cubins, built.cubins)
    return TargetInfo(library=path, architecture=CUDA, mcpu=target.processor)
