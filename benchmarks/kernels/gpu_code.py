"""What the code of a model's GPU kernels needs: registers, spilled bytes, shared memory.

    python -m benchmarks.kernels.gpu_code --config examples/released-config.json --arch 90
    python -m benchmarks.kernels.gpu_code --config examples/released-config.json --brief \\
        --arch 80 86 89 90 100 120 --quantize int4-g128

Needs no GPU. Shared memory stands beside what a block of the architecture may have; --brief prints
a row of Markdown for each architecture. Exits with 1 where a kernel spills.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.lowering import lower
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.program.sampling_steps import chosen_kernel, sampling_choice
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write.gpu_library import build_library
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import GpuKernelInfo, LaunchInfo, SlabsInfo


def launches(kernel: GpuKernelInfo) -> Iterator[LaunchInfo]:
    """The launches of a kernel, those of slabs once."""
    for step in kernel.steps:
        yield from step.launches if isinstance(step, SlabsInfo) else (step,)


def library(options: CompileOptions, target: CudaTarget) -> dict[str, GpuKernelInfo]:
    """All kernels of a model, compiled."""
    with ExitStack() as stack:
        source = open_source(options, stack)
        lowered = lower(source.captured, target.name, target, options, Silent())
    sampling = sampling_choice(target, source.facts.vocabulary)
    assert sampling is not None
    chosen = (*lowered.kernels, chosen_kernel(sampling))
    built = {
        each.symbol: family(each.family, "gpu").build(dict(each.spec), target) for each in chosen
    }
    return dict(build_library(built, target, "cubins", lambda count: None).table.kernels)


def print_launches(built: Mapping[str, GpuKernelInfo], target: CudaTarget) -> None:
    """A line for each launch."""
    names = ("threads", "registers", "spilled", "shared")
    print(f"{'kernel':58} {'launch':26}", " ".join(f"{name:>9}" for name in names))
    for symbol, kernel in built.items():
        for launch in launches(kernel):
            numbers = (launch.threads, launch.registers, launch.spill_bytes, launch.shared_bytes)
            print(f"{symbol:58} {launch.entry:26}", " ".join(f"{n:>9}" for n in numbers))
    print(f"{target.name}: a block may have {target.shared_bytes} bytes of shared memory")


def row(built: Mapping[str, GpuKernelInfo], target: CudaTarget) -> str:
    """A row of Markdown: launches, the largest needs, and every launch that spills or is warned."""
    every = [launch for kernel in built.values() for launch in launches(kernel)]
    spilled = [f"{each.entry} {each.spill_bytes}" for each in every if each.spill_bytes]
    warned = {f"{each.entry} {text.split(':')[0]}" for each in every for text in each.warnings}
    cells = (
        target.processor,
        len(every),
        max(each.registers for each in every),
        f"{max(each.shared_bytes for each in every) >> 10} of {target.shared_bytes >> 10}",
        ", ".join(spilled) or "none",
        ", ".join(sorted(warned)) or "none",
        f"{sum(each.size for each in every) / 2**20:.1f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    """Print the launches, or a row, of each architecture; 1 where one spills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--arch", type=int, nargs="+", default=[90])
    parser.add_argument("--quantize", type=Quantization, default=Quantization.NONE)
    parser.add_argument("--dtype", type=Precision, default=Precision.BFLOAT16)
    parser.add_argument("--brief", action="store_true", help="a row for each architecture")
    given = parser.parse_args()
    options = CompileOptions(
        checkpoint=None,
        output=None,
        config_file=given.config,
        dry_run=True,
        dtype=given.dtype,
        quantization=given.quantize,
    )
    if given.brief:
        print(f"| {given.quantize.value} | launches | registers | KiB | spills | warnings | MiB |")
        print("|---|---|---|---|---|---|---|", flush=True)
    spilled = 0
    for target in map(CudaTarget, given.arch):
        built = library(options, target)
        spilled += sum(each.spill_bytes for one in built.values() for each in launches(one))
        if given.brief:
            print(row(built, target), flush=True)
        else:
            print_launches(built, target)
    return int(spilled > 0)


if __name__ == "__main__":
    sys.exit(main())
