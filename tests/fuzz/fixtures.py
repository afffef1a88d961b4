"""The valid files that all targets damage: `python -m tests.fuzz.fixtures DIRECTORY` makes them.

It runs in a process of its own: whoever forks must not have run a kernel.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MODEL = "model.sala"
CHECKPOINT = "checkpoint"
SHARDED = "sharded"
STATES = "states"
TOKENIZERS = "tokenizers"
QUANTIZED = "quantized"
TUNING = "model.tuning.json"


def make_in_process(directory: Path) -> None:
    """Make everything in `directory`, in another process."""
    subprocess.run([sys.executable, "-m", "tests.fuzz.fixtures", str(directory)], check=True)


def make(directory: Path) -> None:
    """Make everything in `directory`."""
    from tests.fuzz.tokenizer_files import write_tokenizers
    from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint
    from tests.support.compiled import compile_checkpoint

    directory.mkdir(parents=True, exist_ok=True)
    config = tiny_config(mixers=(SPARSE, LIGHTNING), vocabulary=131)
    checkpoint = write_checkpoint(directory / CHECKPOINT, config)
    write_checkpoint(directory / SHARDED, config, shards=2)
    write_quantized(directory / QUANTIZED)
    write_tokenizers(directory / TOKENIZERS)
    compile_checkpoint(checkpoint, directory / MODEL)
    write_states(directory / MODEL, directory / STATES)
    write_tuning(directory / MODEL, directory / TUNING)


def write_states(model: Path, directory: Path) -> None:
    """State files of texts in both regimes, with pages that are full, begun and empty."""
    import runtime

    directory.mkdir()
    with runtime.load(model, context=512, threads=1) as loaded:
        for length in (1, 16, 40, 130, 300):
            with loaded.sequence() as sequence:
                sequence.append([(7 * index + 3) % 131 for index in range(length)])
                sequence.save(directory / f"{length}.sala-state")


def write_tuning(model: Path, path: Path) -> None:
    """A tuning file in which every kernel that has a schedule keeps its default."""
    import hashlib
    import shutil

    from codegen.buffers import workspace
    from codegen.kernels.registry import family
    from codegen.schedules import compiler_versions, schedule_values
    from codegen.targets import parse_target
    from runtime.artifact import canonical_json, open_artifact
    from runtime.artifact.manifest import FileInfo
    from runtime.artifact.tuning import TunedCase, TunedKernel, Tuning, library_beside

    artifact, target = open_artifact(model), parse_target("cpu")
    case = TunedCase(
        work="decode", rows=1, default_seconds=2e-5, tuned_seconds=1e-5, clean=8, samples=8
    )
    kernels: dict[str, TunedKernel] = {}
    for kernel in artifact.manifest.kernels:
        chosen = family(kernel.family)
        if not hasattr(chosen.module, "default_schedule"):
            continue
        spec = chosen.spec(dict(kernel.spec))
        schedule = chosen.module.default_schedule(spec, target)
        kernels[kernel.symbol] = TunedKernel(
            family=kernel.family,
            spec=kernel.spec,
            schedule=schedule_values(schedule),
            is_default=False,
            workspaces=tuple(map(workspace, chosen.module.workspaces(spec, schedule))),
            cases=(case,),
            differs=0.0,
            tried=3,
            refused=1,
            complete=True,
        )
    library = library_beside(path)
    shutil.copy(artifact.library("cpu").path, library)
    data = library.read_bytes()
    tuning = Tuning(
        artifact=artifact.manifest.digest,
        target="cpu",
        processor=target.name,
        dtype=artifact.manifest.dtype,
        threads=1,
        length=40,
        versions=compiler_versions(),
        kernels=kernels,
        library=FileInfo(size=len(data), sha256=hashlib.sha256(data).hexdigest()),
    )
    path.write_bytes(canonical_json(tuning))


def write_quantized(directory: Path) -> None:
    """Checkpoints of the published formats in which two modules are integers."""
    import numpy as np
    from safetensors.numpy import save_file

    from sala_ir.frontends import frontend_for
    from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config

    config = tiny_config(mixers=(SPARSE, LIGHTNING), vocabulary=131)
    frontend = frontend_for(config)
    expected = frontend.expected_tensors(frontend.parse_config(config))
    modules = ("model.layers.1.mlp.down_proj", "model.layers.0.mlp.up_proj")
    for name, (quantization, parts_of) in quantized_formats().items():
        tensors = {n: np.zeros(shape, np.float32) for n, shape in expected.items()}
        for module in modules:
            rows, columns = tensors.pop(f"{module}.weight").shape
            parts = parts_of(rows, columns)
            tensors |= {f"{module}.{part}": values for part, values in parts.items()}
        folder = directory / name
        folder.mkdir(parents=True)
        save_file(tensors, folder / "model.safetensors")
        document = json.dumps(config | {"quantization_config": quantization})
        (folder / "config.json").write_text(document)


def quantized_formats() -> dict[str, tuple[dict[str, Any], Any]]:
    """For each format its configuration, and what gives the parts of a module [rows, columns]."""
    import numpy as np

    def gptq(rows: int, columns: int) -> dict[str, np.ndarray]:
        groups = columns // 32
        return {
            "qweight": np.full((columns // 8, rows), 0x12345678, np.int32),
            "qzeros": np.full((groups, rows // 8), 0x77777777, np.int32),
            "scales": np.full((groups, rows), 0.5, np.float16),
            "g_idx": (np.arange(columns) // 32).astype(np.int32),
        }

    def awq(rows: int, columns: int) -> dict[str, np.ndarray]:
        groups = columns // 32
        return {
            "qweight": np.full((columns, rows // 8), 0x12345678, np.int32),
            "qzeros": np.full((groups, rows // 8), 0x77777777, np.int32),
            "scales": np.full((groups, rows), 0.5, np.float16),
        }

    def packed(rows: int, columns: int) -> dict[str, np.ndarray]:
        return {
            "weight_packed": np.full((rows, columns // 8), 0x12345678, np.int32),
            "weight_scale": np.full((rows, columns // 32), 0.5, np.float16),
            "weight_shape": np.array([rows, columns], np.int64),
        }

    weights = {
        "num_bits": 4,
        "type": "int",
        "strategy": "group",
        "group_size": 32,
        "symmetric": True,
        "dynamic": False,
        "actorder": None,
        "observer": "minmax",
    }
    common = {"bits": 4, "group_size": 32}
    return {
        "gptq": (
            {
                **common,
                "quant_method": "gptq",
                "sym": True,
                "desc_act": False,
                "checkpoint_format": "gptq",
                "dynamic": {"-:.*lm_head.*": {}, "+:.*mlp.*": {"bits": 4, "group_size": 32}},
                "meta": {"quantizer": ["gptqmodel:1.0"], "damp_percent": 0.01},
            },
            gptq,
        ),
        "awq": ({**common, "quant_method": "awq", "zero_point": True, "version": "gemm"}, awq),
        "packed": (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "quantization_status": "compressed",
                "kv_cache_scheme": None,
                "ignore": ["lm_head"],
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "weights": weights,
                        "input_activations": None,
                        "output_activations": None,
                    }
                },
            },
            packed,
        ),
    }


if __name__ == "__main__":
    make(Path(sys.argv[1]))
