"""Prepares what `run_all.sh` needs on a machine without compiler and network.

    python -m benchmarks.gpu.prepare build/gpu

Compiles, for the architecture, the released model with random int4 and bf16 weights (which are
made at load: the artifacts are small), the golden checkpoints in both types, and every function
that the kernels' tests launch; computes the logits that bfloat16 is held against, and downloads the
packages that such a machine may lack.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.gpu.golden import DTYPES, PROMPTS
from benchmarks.gpu.kernel_checks import record
from benchmarks.gpu.marks import MARKS
from benchmarks.gpu.predictions import FILE, predict
from benchmarks.gpu.recorded import ROOT, digest_of_sources, is_current
from benchmarks.gpu.sizes import RELEASED
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from tests.support.compiled import GOLDEN, kernel_level_module

HERE = Path(__file__).parent
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
CHUNK = "8K"
RELEASED_AS = {"int4": "int4-g128", "bf16": "none"}
MOST_BYTES = 64 << 20
"""What may travel to a machine with a GPU, tracked files included."""


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(path_type=Path), default=Path("build/gpu"))
@click.option("--architecture", default="sm_90", help="Of the device.")
@click.option("--python", "python_version", default="3.12", help="Of the machine with the device.")
@click.option("--wheels/--no-wheels", default=True, help="Download packages.")
def main(folder: Path, architecture: str, python_version: str, wheels: bool) -> None:
    """Fill FOLDER; what was made for this checkout is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = digest_of_sources()
    if not is_current(folder):
        for checkpoint in sorted(path for path in GOLDEN.iterdir() if path.is_dir()):
            _golden(folder, checkpoint, architecture)
        for label, quantization in RELEASED_AS.items():
            _released(folder / f"released-{label}.sala", quantization, architecture)
        click.echo("compiling what the kernels' tests launch")
        target = CudaTarget.parse(f"cuda:{architecture}")
        _predict(folder, target.architecture)
        record(folder, target, sources)
    if wheels:
        _download(folder / "wheels", python_version)
    size, tree = _bytes(folder.rglob("*")), _bytes(_tracked())
    click.echo(f"to carry: {size / 2**20:.1f} MiB of {folder} and {tree / 2**20:.1f} of the tree")
    if size + tree > MOST_BYTES:
        raise click.ClickException(f"that is more than {MOST_BYTES >> 20} MiB")


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def _tracked() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return (ROOT / name for name in listed.stdout.decode().split("\0") if name)


def _predict(folder: Path, architecture: int) -> None:
    """What the time model says of the artifacts; its own cache is not carried."""
    with TemporaryDirectory() as cache:
        made = {
            label: predict(architecture, quantization, MARKS, Path(cache))
            for label, quantization in RELEASED_AS.items()
        }
    known = {label: each for label, each in made.items() if each is not None}
    (folder / FILE).write_text(json.dumps(known, indent=1) + "\n")


def _golden(folder: Path, checkpoint: Path, architecture: str) -> None:
    """Artifacts of a golden checkpoint, and its expected values with those of bfloat16."""
    name = f"golden-{checkpoint.name}"
    for dtype in DTYPES:
        target = folder / f"{name}-{dtype}.sala"
        options = ["--dtype", dtype, "--context", "1K", "--chunk", "64"]
        _compile([str(checkpoint), "-o", str(target), *options], architecture)
    tensors = folder / f"{name}.safetensors"
    golden = load_file(checkpoint / "golden.safetensors")
    module = kernel_level_module(checkpoint, Precision.BFLOAT16)
    with Checkpoint.open(checkpoint) as weights:
        for prompt in PROMPTS:
            rounded = ReferenceModel(module, weights, Rounding.ROUNDED)
            logits = rounded.prefill(golden[f"{prompt}.input_ids"].tolist())
            golden[f"{prompt}.rounded_logits"] = np.asarray(logits, np.float32)
    save_file(golden, tensors)


def _released(target: Path, quantization: str, architecture: str) -> None:
    options = ["--quantize", quantization, "--context", "1M", "--chunk", CHUNK]
    source = ["--config", str(RELEASED), "--weights", "random"]
    _compile([*source, "-o", str(target), *options], architecture)


def _compile(arguments: list[str], architecture: str) -> None:
    click.echo("sala-compile " + " ".join(arguments))
    compile_command([*arguments, "--target", f"cuda:{architecture}"], standalone_mode=False)


def _download(folder: Path, python_version: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", python_version, "--dest", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, "--requirement", str(HERE / "requirements.txt")], check=True)


if __name__ == "__main__":
    main()
