"""Prints how far bfloat16 is from the rounded reference, position by position.

python benchmarks/bfloat16_deviation.py [CHECKPOINT] [TOKENS]: by default the golden checkpoints
with their own prompts.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import sala_compile

sys.path.insert(0, str(Path(__file__).parent.parent))

from sala_compile.passes.assign_precision import Precision
from tests.support.compiled import GOLDEN, compile_checkpoint
from tests.support.deviation import measure


def report(checkpoint: Path, prompts: dict[str, np.ndarray]) -> None:
    """Compile a checkpoint in bfloat16 and print the deviation of each prompt."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.sala")
        compile_checkpoint(checkpoint, path, dtype=Precision.BFLOAT16)
        longest = max(len(ids) for ids in prompts.values())
        with sala_compile.load(path, context=longest, chunk=longest) as model:
            for name, ids in prompts.items():
                found = measure(model, checkpoint, ids)
                print(f"\n{checkpoint.name}, {name}, {len(ids)} tokens\n{found.describe()}")
                for start in range(0, len(ids), 16):
                    row = " ".join(
                        f"{value:.4f}" for value in found.by_position[start : start + 16]
                    )
                    print(f"{start:6d} {row}")


def main() -> None:
    """Report the checkpoint named on the command line, or the golden ones."""
    if len(sys.argv) > 1:
        count = int(sys.argv[2]) if len(sys.argv) > 2 else 256
        ids = np.random.default_rng(0).integers(0, 256, count)
        report(Path(sys.argv[1]), {"random ids": ids})
        return
    for checkpoint in sorted(path for path in GOLDEN.iterdir() if path.is_dir()):
        golden = load_file(checkpoint / "golden.safetensors")
        report(checkpoint, {name: golden[f"{name}.input_ids"] for name in ("p0", "p1")})


if __name__ == "__main__":
    main()
