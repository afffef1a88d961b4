"""What the code of a model's GPU kernels needs: registers, spilled bytes, shared memory.

    python -m benchmarks.kernels.gpu_code --config examples/released-config.json --arch 90

Needs no GPU. Shared memory stands beside what a block of the architecture may have; exits with 1
where a kernel spills.
"""

import argparse
import sys
from collections.abc import Iterator
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


def main() -> int:
    """Print a line for each launch; 1 where one spills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--arch", type=int, default=90)
    parser.add_argument("--quantize", type=Quantization, default=Quantization.NONE)
    parser.add_argument("--dtype", type=Precision, default=Precision.BFLOAT16)
    given = parser.parse_args()
    options = CompileOptions(
        checkpoint=None,
        output=None,
        config_file=given.config,
        dry_run=True,
        dtype=given.dtype,
        quantization=given.quantize,
    )
    target = CudaTarget(given.arch)
    names = ("threads", "registers", "spilled", "shared")
    print(f"{'kernel':58} {'launch':26}", " ".join(f"{name:>9}" for name in names))
    spilled = 0
    for symbol, kernel in library(options, target).items():
        for launch in launches(kernel):
            spilled += launch.spill_bytes
            numbers = (launch.threads, launch.registers, launch.spill_bytes, launch.shared_bytes)
            print(f"{symbol:58} {launch.entry:26}", " ".join(f"{n:>9}" for n in numbers))
    print(f"{target.name}: a block may have {target.shared_bytes} bytes of shared memory")
    return int(spilled > 0)


if __name__ == "__main__":
    sys.exit(main())
