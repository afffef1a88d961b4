"""Writes down the logits that transformers computes with the models in `cases.py`.

    python -m tests.golden.dense_families.record     # in an environment with transformers 5.23

transformers is no dependency of this project: the tests compare with what is written down.
"""

import os
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
import transformers  # pyright: ignore[reportMissingImports]
from safetensors.numpy import save_file

from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint
from tests.golden.dense_families.cases import CASES, DECODED, ROWS, SEED, prompt

RECORD = Path(__file__).with_name("expected.safetensors")


def record(name: str, directory: Path) -> dict[str, torch.Tensor]:
    """Logits of rows of the prompt, and of every decoded token; all tensors must be read."""
    write_random_checkpoint(directory, CASES[name], seed=SEED)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        str(directory),
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not any(report.values()), report
    with torch.inference_mode():
        found = model(torch.tensor([prompt(name)]), use_cache=True)
        rows = [found.logits[0, -1]]
        for _ in range(DECODED):
            token = rows[-1].argmax().reshape(1, 1)
            step = model(token, past_key_values=found.past_key_values, use_cache=True)
            rows.append(step.logits[0, -1])
    return {f"{name}.prompt": found.logits[0, list(ROWS)], f"{name}.decoded": torch.stack(rows[1:])}


def main() -> None:
    """Record every case."""
    tensors: dict[str, torch.Tensor] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in CASES:
            tensors |= record(name, Path(place) / name)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    save_file(arrays, RECORD, metadata={"transformers": transformers.__version__})
    print(f"{len(CASES)} cases, {RECORD.stat().st_size} bytes")


if __name__ == "__main__":
    main()
