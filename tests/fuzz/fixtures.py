"""The valid files that all targets damage: `python -m tests.fuzz.fixtures DIRECTORY` makes them.

It runs in a process of its own: whoever forks must not have run a kernel.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

MODEL = "model.sala"
CHECKPOINT = "checkpoint"
SHARDED = "sharded"
STATES = "states"
TOKENIZERS = "tokenizers"
QUANTIZED = "quantized"
GGUFS = "ggufs"
ONNX = "onnx"
TUNING = "model.tuning.json"


def make_in_process(directory: Path) -> None:
    """Make everything in `directory`, in another process."""
    subprocess.run([sys.executable, "-m", "tests.fuzz.fixtures", str(directory)], check=True)


def make(directory: Path) -> None:
    """Make everything in `directory`."""
    from tests.fuzz.gguf_files import write_ggufs
    from tests.fuzz.onnx_files import write_onnx
    from tests.fuzz.quantized_files import write_quantized
    from tests.fuzz.tokenizer_files import write_tokenizers
    from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint
    from tests.support.compiled import compile_checkpoint

    directory.mkdir(parents=True, exist_ok=True)
    config = tiny_config(mixers=(SPARSE, LIGHTNING), vocabulary=131)
    checkpoint = write_checkpoint(directory / CHECKPOINT, config)
    write_checkpoint(directory / SHARDED, config, shards=2)
    write_quantized(directory / QUANTIZED)
    write_ggufs(directory / GGUFS)
    write_onnx(directory / ONNX, checkpoint)
    write_tokenizers(directory / TOKENIZERS)
    compile_checkpoint(checkpoint, directory / MODEL)
    write_states(directory / MODEL, directory / STATES)
    write_tuning(directory / MODEL, directory / TUNING)


def write_states(model: Path, directory: Path) -> None:
    """State files of texts in both regimes, with pages that are full, begun and empty."""
    import sala_compile

    directory.mkdir()
    with sala_compile.load(model, context=512, threads=1) as loaded:
        for length in (1, 16, 40, 130, 300):
            with loaded.sequence() as sequence:
                sequence.append([(7 * index + 3) % 131 for index in range(length)])
                sequence.save(directory / f"{length}.sala-state")


def write_tuning(model: Path, path: Path) -> None:
    """A tuning file that keeps the default schedule of every kernel, and its library."""
    from sala_compile.codegen.kernels.registry import family
    from sala_compile.codegen.kernels.schedules import compiler_versions, schedule_values
    from sala_compile.codegen.program.buffers import workspace
    from sala_compile.codegen.targets import parse_target
    from sala_compile.codegen.targets.cpu import CpuTarget
    from sala_compile.codegen.write.cpu_library import compile_library
    from sala_compile.runtime.artifact import canonical_json, open_artifact
    from sala_compile.runtime.artifact.contract import workspaces_digest
    from sala_compile.runtime.artifact.manifest import FileInfo
    from sala_compile.runtime.artifact.tuning import (
        TunedCase,
        TunedKernel,
        Tuning,
        library_beside,
        tuned_workspaces,
    )

    artifact, target = open_artifact(model), parse_target("cpu")
    assert isinstance(target, CpuTarget)
    case = TunedCase(
        work="decode", rows=1, default_seconds=2e-5, tuned_seconds=1e-5, clean=8, samples=8
    )
    kernels: dict[str, TunedKernel] = {}
    for kernel in artifact.manifest.kernels:
        chosen = family(kernel.family)
        if chosen.axes is None:
            continue
        spec = chosen.spec.parse(kernel.spec)
        schedule = chosen.default_schedule(spec, target)
        kernels[kernel.symbol] = TunedKernel(
            family=kernel.family,
            spec=kernel.spec,
            schedule=schedule_values(schedule),
            is_default=False,
            workspaces=tuple(map(workspace, chosen.workspaces(spec, schedule))),
            cases=(case,),
            differs=0.0,
            tried=3,
            refused=1,
            complete=True,
        )
    tuning = Tuning(
        artifact=artifact.manifest.digest,
        target="cpu",
        processor=target.name,
        dtype=artifact.manifest.dtype,
        threads=1,
        length=40,
        versions=compiler_versions(),
        kernels=kernels,
    )
    functions = {
        kernel.symbol: family(kernel.family).build(dict(kernel.spec), target, None)
        for kernel in artifact.manifest.kernels
    }
    digest = workspaces_digest(tuned_workspaces(tuning))
    contract = artifact.contract("cpu").model_copy(update={"workspaces": digest})
    data = compile_library(functions, target, library_beside(path), contract)
    info = FileInfo(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    path.write_bytes(canonical_json(tuning.model_copy(update={"library": info})))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
