"""How much of a decode step is Python: the loop over the kernels, and what stands around it.

    python -m benchmarks.step_overhead --threads 2 --seconds 60

Three ways through the same kernels, asked in turn: a call of `Model.decode`; the runtime's loop
over the prepared calls; and those calls made by a loop in C, as the C interface of TVM-FFI has it.
The second less the third is Python between kernels, the first less the second Python around them.
Without --artifact the model is random, of about 100 million parameters.
"""

import ctypes
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import tvm_ffi

import sala_compile
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.codegen.targets.link import find_linker
from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.artifact.processor import processor_name
from sala_compile.runtime.bench.recording import calls_of
from sala_compile.runtime.common.timing import Sample, Summary, sample, summarise
from sala_compile.runtime.devices.cpu.program import Call as PreparedCall
from sala_compile.runtime.devices.cpu.program import CpuProgram
from sala_compile.runtime.devices.device import StepSizes
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint

RELEASED = Path(__file__).parent.parent / "examples" / "released-config.json"
LAYERS = 12
SMALL = {
    "vocab_size": 8192,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "lightning_nh": 12,
    "lightning_nkv": 12,
    "lightning_head_dim": 64,
    "eos_token_id": [2],
    "mixer_types": ["lightning-attn" if i % 4 else "minicpm4" for i in range(LAYERS)],
}
"""Fields of the released configuration that make a model of 102 million parameters."""
PROMPT = 128
TENSOR = 70
"""Type index of a tensor in the C interface of TVM-FFI."""
LOOP = """
#include <stdint.h>
typedef struct { int32_t type; uint32_t padding; void* value; } any;
typedef struct { void* function; const any* arguments; int64_t count; } call;
int TVMFFIFunctionCall(void*, const any*, int32_t, any*);
int run_calls(const call* calls, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    any result = {0, 0, 0};
    if (TVMFFIFunctionCall(calls[i].function, calls[i].arguments, (int32_t)calls[i].count, &result))
      return 1;
  }
  return 0;
}
"""


class Any16(ctypes.Structure):
    """A value of the C interface."""

    _fields_ = (
        ("type", ctypes.c_int32),
        ("padding", ctypes.c_uint32),
        ("value", ctypes.c_void_p),
    )


class Call(ctypes.Structure):
    """A prepared call."""

    _fields_ = (
        ("function", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(Any16)),
        ("count", ctypes.c_int64),
    )


class NativeLoop:
    """The calls of some phases, made one behind the other without Python."""

    def __init__(self, calls: Sequence[PreparedCall], folder: Path) -> None:
        """Compile the loop with the linker that kernels are linked with."""
        library = Path(tvm_ffi.__file__).parent / "lib"
        source, target = folder / "loop.c", folder / "loop.so"
        source.write_text(LOOP)
        command = [find_linker(), "-x", "c", "-O2", "-shared", "-fPIC", str(source)]
        command += ["-o", str(target), f"-L{library}", "-ltvm_ffi", f"-Wl,-rpath,{library}"]
        subprocess.run(command, check=True)
        self._run = ctypes.CDLL(str(target)).run_calls
        self._kept = [
            (Any16 * len(arguments))(
                *(Any16(TENSOR, 0, each.__ctypes_handle__()) for each in arguments)
            )
            for _, arguments in calls
        ]
        self._calls = (Call * len(calls))(
            *(
                Call(kernel.__ctypes_handle__(), arguments, len(arguments))
                for (kernel, _), arguments in zip(calls, self._kept, strict=True)
            )
        )

    def __call__(self) -> None:
        """Make all calls."""
        failed = self._run(self._calls, ctypes.c_int64(len(self._calls)))
        assert not failed, "a kernel refused its arguments"


@click.command()
@click.option("--artifact", type=click.Path(path_type=Path), help="Instead of the random model.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="Time for the samples.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the results as JSON.")
def main(artifact: Path | None, threads: int, seconds: float, output: Path | None) -> None:
    """Print the parts of a decode step."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sala-")))
        path = artifact or _random_artifact(folder)
        model = stack.enter_context(
            sala_compile.load(path, context=1 << 15, threads=threads, poison=False)
        )
        sequence = stack.enter_context(model.sequence())
        sequence.append(list(range(PROMPT)))
        programs: list[CpuProgram] = []
        with model.wrapped(lambda program: programs.append(calls_of(program)) or program):
            model.decode([sequence], [1])
        program, sizes = programs[0], StepSizes(1, 1, 1)
        order = (PhaseName.DECODE, PhaseName.LOGITS)
        calls = [call for phase in order for call in program.calls[phase]]
        ways: dict[str, Callable[[], Any]] = {
            "model.decode": lambda: model.decode([sequence], [1]),
            "Python loop": lambda: [program.run(phase, sizes) for phase in order],
            "C loop": NativeLoop(calls, folder),
        }
        found = _measure(ways, seconds, lambda: sequence.remaining)
    document = {
        "processor": processor_name(),
        "threads": threads,
        "steps": len(calls),
        "arguments": sum(len(arguments) for _, arguments in calls),
        "milliseconds": {name: summary.median * 1e3 for name, summary in found.items()},
        "clean_samples": {name: str(summary) for name, summary in found.items()},
        **_shares(found),
    }
    print(json.dumps(document, indent=2))
    if output:
        output.write_text(json.dumps(document, indent=2) + "\n")


def _random_artifact(folder: Path) -> Path:
    config = json.loads(RELEASED.read_text()) | SMALL
    write_random_checkpoint(folder / "checkpoint", config)
    artifact = folder / "small.sala"
    compile_command([str(folder / "checkpoint"), "-o", str(artifact)], standalone_mode=False)
    return artifact


def _measure(
    ways: dict[str, Callable[[], Any]], seconds: float, room: Callable[[], int]
) -> dict[str, Summary]:
    """Samples of every way, in turn, while there is room for another token."""
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    end = time.monotonic() + seconds
    while time.monotonic() < end and room():
        for name, work in ways.items():
            samples[name].append(sample(work))
    return {name: summarise(taken) for name, taken in samples.items()}


def _shares(found: dict[str, Summary]) -> dict[str, float]:
    whole, loop, native = (found[name].median for name in ("model.decode", "Python loop", "C loop"))
    return {
        "python_between_kernels": (loop - native) / whole,
        "python_around_kernels": (whole - loop) / whole,
    }


if __name__ == "__main__":
    main()
