"""Prepares what `run_all.sh` needs on a machine without compiler and network.

    python -m benchmarks.gpu.prepare build/gpu

Compiles, for the architecture, the released model with random int4 and bf16 weights (which are
made at load: the artifacts are small), the golden checkpoints in both types, and every function
that the kernels' tests launch; computes the logits that bfloat16 is held against, packs all of that
into an archive, and downloads the packages that such a machine may lack. What has to be carried
beside the checkout is in `build/gpu/carry`; it is refused if it is too much.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.gpu import launch_bounds
from benchmarks.gpu.carried import TooLarge, pack, require_room, sizes
from benchmarks.gpu.golden import DTYPES, GOLDEN, PROMPTS
from benchmarks.gpu.kernel_checks import record
from benchmarks.gpu.marks import MARKS
from benchmarks.gpu.predictions import FILE, predict
from benchmarks.gpu.recorded import (
    CODE,
    PARTS,
    ROOT,
    TABLE,
    digest_of_sources,
    is_current,
    keeping,
)
from benchmarks.gpu.sizes import RELEASED
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write import gpu_library
from sala_compile.passes.assign_precision import Precision
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from tests.support.compiled import kernel_level_module

HERE = Path(__file__).parent
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
CHUNK = "8K"
CACHE = Path("build/bounds")
"""Of the time model, which compiles every launch."""
RELEASED_AS = {"int4": "int4-g128", "bf16": "none"}
MADE = ("golden-*", "released-*", FILE, TABLE, CODE, PARTS)
"""What there is in the folder, but for what is carried."""


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(path_type=Path), default=Path("build/gpu"))
@click.option("--architecture", default="sm_90", help="Of the device.")
@click.option("--python", "python_version", default="3.12", help="Of the machine with the device.")
@click.option("--wheels/--no-wheels", default=True, help="Download packages.")
def main(folder: Path, architecture: str, python_version: str, wheels: bool) -> None:
    """Fill FOLDER; what was made for these sources is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = digest_of_sources()
    renew(folder, f"{architecture} {sources}")
    if not is_current(folder):
        with keeping(folder, gpu_library, launch_bounds):
            _compile_all(folder, architecture, sources)
    archive = pack(folder)
    if wheels:
        _download(archive.parent / "wheels", python_version)
    try:
        total = require_room(sizes(archive.parent, ROOT))
    except TooLarge as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"carry {archive.parent}; {total / 2**20:.1f} MiB travel with the checkout")


def _compile_all(folder: Path, architecture: str, sources: str) -> None:
    """Every artifact, the predictions, and what the kernels' tests launch."""
    for checkpoint in golden_checkpoints():
        _golden(folder, checkpoint, architecture)
    for label, quantization in RELEASED_AS.items():
        _released(folder / f"released-{label}.sala", quantization, architecture)
    target = CudaTarget.parse(f"cuda:{architecture}")
    if not (folder / FILE).exists():
        _predict(folder, target.architecture)
    click.echo("compiling what the kernels' tests launch")
    record(folder, target, sources)


def renew(folder: Path, made_for: str) -> None:
    """Remove what was made for other sources; a preparation that was cut off goes on."""
    known = folder / "sources"
    if known.exists() and known.read_text() == made_for:
        return
    for pattern in MADE:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    known.write_text(made_for)


def golden_checkpoints() -> list[Path]:
    """The folders that have a model next to its golden values."""
    return sorted(path.parent for path in GOLDEN.glob("*/config.json"))


def _predict(folder: Path, architecture: int) -> None:
    """What the time model says of the artifacts; its own cache is not carried."""
    made = {
        label: predict(architecture, quantization, MARKS, CACHE)
        for label, quantization in RELEASED_AS.items()
    }
    known = {label: each for label, each in made.items() if each is not None}
    (folder / FILE).write_text(json.dumps(known, indent=1) + "\n")


def _golden(folder: Path, checkpoint: Path, architecture: str) -> None:
    """Artifacts of a golden checkpoint, and its expected values in bfloat16."""
    name = f"golden-{checkpoint.name}"
    for dtype in DTYPES:
        target = folder / f"{name}-{dtype}.sala"
        options = ["--dtype", dtype, "--context", "1K", "--chunk", "64"]
        _compile([str(checkpoint)], target, options, architecture)
    if (folder / f"{name}.safetensors").exists():
        return
    golden = load_file(checkpoint / "golden.safetensors")
    rounded_logits: dict[str, np.ndarray] = {}
    module = kernel_level_module(checkpoint, Precision.BFLOAT16)
    with Checkpoint.open(checkpoint) as weights:
        for prompt in PROMPTS:
            rounded = ReferenceModel(module, weights, Rounding.ROUNDED)
            logits = rounded.prefill(golden[f"{prompt}.input_ids"].tolist())
            rounded_logits[f"{prompt}.rounded_logits"] = np.asarray(logits, np.float32)
    save_file(rounded_logits, folder / f"{name}.safetensors")


def _released(target: Path, quantization: str, architecture: str) -> None:
    options = ["--quantize", quantization, "--context", "1M", "--chunk", CHUNK]
    _compile(["--config", str(RELEASED), "--weights", "random"], target, options, architecture)


def _compile(source: list[str], target: Path, options: list[str], architecture: str) -> None:
    """Compile what is not there yet: an artifact appears whole."""
    arguments = [*source, "-o", str(target), *options, "--target", f"cuda:{architecture}"]
    if not target.exists():
        click.echo("sala-compile " + " ".join(arguments))
        compile_command(arguments, standalone_mode=False)


def _download(folder: Path, python_version: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", python_version, "--dest", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, "--requirement", str(HERE / "requirements.txt")], check=True)


if __name__ == "__main__":
    main()
