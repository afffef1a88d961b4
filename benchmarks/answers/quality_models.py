"""The models of the quality table, and the savings that each is compiled with."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import ml_dtypes
from safetensors.numpy import save_file

from examples.chat.smollm2 import fetch
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf

NEEDLE = Path(__file__).parents[2] / "examples" / "needle" / "checkpoint"
BASELINE = "float32"
CALIBRATION = 1024
"""Tokens that error-aware rounding sees."""
SAVINGS: dict[str, tuple[str, ...]] = {
    BASELINE: ("--dtype", "float32"),
    "bf16": (),
    "int4-g128": ("--quantize", "int4-g128"),
    "kv-int4": ("--kv", "int4"),
    "int4-g128-rows-int8": ("--quantize", "int4-g128", "--activations", "int8"),
    "kv-k8v4": ("--kv", "k8v4"),
    "kv-int8": ("--kv", "int8"),
    "int8": ("--quantize", "int8"),
    "int4-g32": ("--quantize", "int4-g32"),
    "int4-g128-rows-int8-kv-int4": (
        *("--quantize", "int4-g128", "--activations", "int8"),
        *("--kv", "int4"),
    ),
}
"""Options of the compiler by the name of a row, the baseline first; `rows` are activations."""
PUBLISHED: dict[str, tuple[str, ...]] = {
    "as-published": (),
    "as-published-rows-int8": ("--activations", "int8"),
}
"""The same for the published file, whose integers are those values: no second rounding."""


@dataclass(frozen=True, slots=True)
class QualityModel:
    """A model, its longest sequence, the lengths of its texts, and how many of each are asked.

    `savings` are the options of its rows by their names.
    """

    name: str
    context: int
    lengths: tuple[int, ...]
    texts: int
    savings: Mapping[str, tuple[str, ...]]

    def artifact(self, saving: str, work: Path) -> Path:
        """The artifact with a saving, compiled unless it is there."""
        path = work / f"{self.name}-{saving}.sala"
        if not path.exists():
            source = NEEDLE if self.name == "needle" else _plain_smollm2(work / self.name)
            source = fetch() if saving in PUBLISHED else source
            options = self.savings[saving]
            if "--quantize" in options:
                options += ("--calibration-tokens", str(CALIBRATION))
            arguments = [str(source), "-o", str(path), "--context", str(self.context)]
            compile_command.main([*arguments, *options], standalone_mode=False)
        return path


MODELS = (
    QualityModel("smollm2", 8192, (1024, 4096), 5, SAVINGS | PUBLISHED),
    QualityModel("needle", 262144, (1024, 8192, 65536), 5, SAVINGS),
)


def _plain_smollm2(folder: Path) -> Path:
    """A checkpoint with the values of the GGUF file in bfloat16, so that each saving rounds them.

    The published file has 4 bits (Q4_1, the embedding Q8_0): its values are the model here.
    """
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch, open_gguf(fetch(), Path(scratch)) as checkpoint:
        for path in checkpoint.copied_files():
            shutil.copy(path, folder)
        tensors = {
            name: checkpoint.rows(name, 0, tensor.shape[0]).astype(ml_dtypes.bfloat16)
            for name, tensor in checkpoint.tensors.items()
        }
        (folder / "config.json").write_text(json.dumps(dict(checkpoint.config)))
        save_file(tensors, folder / "model.safetensors")
    return folder
