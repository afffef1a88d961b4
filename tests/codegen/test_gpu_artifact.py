"""Whole compilations for GPUs: what is written, and that every function compiles everywhere."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
from click.testing import CliRunner

from sala_compile.codegen.compiler import CompileResult, open_source
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Launch, Slabs
from sala_compile.codegen.lowering import lower
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.program.sampling_steps import chosen_kernel, sampling_choice
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.targets.cuda import SHARED_BYTES, CudaTarget
from sala_compile.codegen.write.gpu_library import SCRATCH, build_library
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.artifact import (
    Artifact,
    GpuKernelInfo,
    PhaseName,
    ValueKind,
    open_artifact,
)
from sala_compile.runtime.cli.inspect import command as inspect
from sala_compile.runtime.plan import Sizes, plan_memory
from tests.support import emulated_gpu
from tests.support.compiled import GOLDEN, compile_checkpoint
from tests.support.emulated_gpu import emulated_code

CHECKPOINT = GOLDEN / "sala-tiny-a"
TARGETS = ("cuda:sm_90", "cuda:sm_120")


@dataclass(frozen=True, slots=True)
class Made:
    """An artifact, and what the compiler said."""

    artifact: Artifact
    result: CompileResult


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A golden checkpoint for two architectures; its code is made up, other tests assemble it."""
    path = tmp_path_factory.mktemp("gpu") / "tiny.sala"
    with emulated_code():
        result = compile_checkpoint(CHECKPOINT, path, dtype=Precision.BFLOAT16, targets=TARGETS)
    return Made(open_artifact(path, hash_weights=True), result)


def test_the_artifact_has_code_and_nothing_for_processors(made):
    manifest = made.artifact.manifest
    libraries = {name for name in manifest.files if name.startswith("lib/")}
    assert libraries == {
        f"lib/cuda-sm_{number}.{suffix}" for number in (90, 120) for suffix in ("json", "cubins")
    }
    info = manifest.targets["cuda:sm_120"]
    assert (info.architecture, info.mcpu, info.runtime) == ("cuda", "sm_120", None)
    assert manifest.versions["triton"].startswith("3.9.")
    for target in made.artifact.program.targets.values():
        assert (target.read_multiple, target.splits) == (512, True)
    assert all(
        value.kind is not ValueKind.POOL or _is_plain(name, value)
        for name, value in made.artifact.program.values.items()
    )


def _is_plain(name: str, value) -> bool:
    return name.startswith("cuda/") or name.endswith("recurrent_state")


@pytest.mark.parametrize("target", TARGETS)
def test_every_step_has_code(made, target):
    library, program = made.artifact.gpu_library(target), made.artifact.program
    phases = program.targets[target].phases
    assert set(phases) == set(PhaseName)
    called = {step.kernel for phase in phases.values() for step in phase.steps}
    assert called == set(library.kernels)
    code = made.artifact.read_bytes(library.cubins)
    for launch in _launches(library.kernels.values()):
        assert code[launch.offset : launch.offset + launch.size].startswith(b"\x7fELF")
        assert launch.arguments[-2:] == SCRATCH


def _launches(kernels) -> Iterator:
    return (launch for kernel in kernels for launch in kernel.launches())


def test_arguments_are_the_values_of_the_calls(made):
    """Equal capacities of a kernel are equal sizes in every call."""
    artifact = made.artifact
    sizes = Sizes(context=1000, batch=3, chunk=50, sequences=5, workers=1)
    symbols = sizes.symbols(artifact.program.paging)
    for target in TARGETS:
        library = artifact.gpu_library(target)
        for phase in artifact.program.targets[target].phases.values():
            for step in phase.steps:
                values = [artifact.program.values[name] for name in step.arguments]
                shapes = [
                    tuple(dim if isinstance(dim, int) else dim.evaluate(symbols) for dim in v.shape)
                    for v in values
                ]
                _check_call(library.kernels[step.kernel], shapes)


def _check_call(kernel: GpuKernelInfo, shapes: list[tuple[int, ...]]) -> None:
    capacities: dict[str, int] = {}
    for parameter, shape in zip(kernel.parameters, shapes, strict=True):
        for dim, size in zip(parameter.shape, shape, strict=True):
            expected = capacities.setdefault(dim, size) if isinstance(dim, str) else dim
            assert size == expected, f"{parameter.name} is {shape}, not {parameter.shape}"
    extents = (
        (argument, shapes[names.index(argument.parameter)][argument.dim])
        for names in [[parameter.name for parameter in kernel.parameters]]
        for launch in kernel.launches()
        for argument in launch.arguments
        if argument.kind.value == "extent"
    )
    assert all(size % argument.divisible == 0 for argument, size in extents)


def test_the_plan_counts_what_a_gpu_holds(made):
    artifact, memory = made.artifact, made.result.summary["memory"]
    stored = [tensor for _, tensor in artifact.weights.values()]
    padded = sum(-(-tensor.spec.nbytes // 64) * 64 for tensor in stored)
    assert memory["parts"]["weights"] == padded
    assert memory["threads"] == 1
    sizes = Sizes(context=1024, batch=1, chunk=64, sequences=1, workers=1)
    plan = plan_memory(artifact.program, "cuda:sm_90", sizes, padded)
    assert plan.parts["kv_pages"] == 2 * 2 * 1024 * 2 * 32 * 2
    assert plan.parts["recurrent_state"] == 2 * 4 * 32 * 32 * 4


def test_inspecting_lists_what_every_function_takes(made):
    result = CliRunner().invoke(inspect, [str(made.artifact.directory), "--kernels"])
    assert result.exit_code == 0, result.output
    assert "code for cuda:sm_90, assembled by CUDA 13.99" in result.output
    assert "sample_512" in result.output
    assert "registers" in result.output
    lines = [line.strip() for line in result.output.splitlines()]
    assert lines.count(emulated_gpu.WARNING) == len(TARGETS), "once for each target"
    assert any(re.search(r"blocks +C7515$", line) for line in lines), (
        "and its number at the function"
    )


def test_inspecting_tells_programs_what_every_function_takes(made):
    result = CliRunner().invoke(inspect, [str(made.artifact.directory), "--kernels", "--json"])
    kernels = json.loads(result.stdout)["kernels"]
    launches = [launch for kernel in kernels for launch in kernel["launches"]]
    assert len(launches) > 20
    for launch in launches:
        assert launch["warnings"] == [emulated_gpu.WARNING]
        assert launch["blocks"] in (24, 32), "of 32 threads and little else, on sm_120 and sm_90"
        assert launch["limited_by"] == "blocks"
        assert launch["tensor_columns"] == 0


def _kernels(target: CudaTarget) -> dict[str, GpuKernel]:
    """All kernels of the checkpoint."""
    options = CompileOptions(checkpoint=CHECKPOINT, output=None, dry_run=True)
    with ExitStack() as stack:
        captured = open_source(options, stack).captured
        lowered = lower(captured, target.name, target, options, Silent())
    sampling = sampling_choice(target, 512)
    assert sampling is not None
    chosen = [*lowered.kernels, chosen_kernel(sampling)]
    built = [family(each.family, "gpu").build(dict(each.spec), target) for each in chosen]
    return {kernel.symbol: kernel for kernel in built}


def test_every_kernel_compiles_for_sm_90_and_spills_nothing():
    target = CudaTarget(90)
    library = build_library(_kernels(target), target, "lib/tiny.cubins", lambda count: None)
    for launch in _launches(library.table.kernels.values()):
        code = library.cubins[launch.offset : launch.offset + launch.size]
        assert code.startswith(b"\x7fELF")
        assert launch.entry.encode() in code
        assert (launch.entry, launch.spill_bytes) == (launch.entry, 0)
        assert launch.threads <= 1024


@pytest.mark.parametrize("number", sorted(set(SHARED_BYTES) - {90}))
def test_every_function_compiles_for_the_other_architectures(number):
    """One launch of each; what does not fit the shared memory is refused."""
    target, seen = CudaTarget(number), set[str]()
    kernels: dict[str, GpuKernel] = {}
    for symbol, kernel in _kernels(target).items():
        fresh = tuple(step for step in kernel.launches if not _names(step) <= seen)
        seen.update(*map(_names, fresh))
        kernels[symbol] = replace(kernel, launches=fresh)
    table = build_library(kernels, target, "lib/tiny.cubins", lambda count: None).table
    assert {launch.entry for launch in _launches(table.kernels.values())} == seen
    assert len(seen) > 12


def _names(step: Launch | Slabs) -> set[str]:
    launches = step.launches if isinstance(step, Slabs) else (step,)
    return {launch.function.__name__ for launch in launches}
