"""The golden checkpoints end to end on the device.

    python -m benchmarks.gpu.golden build/gpu build/gpu/results --part golden

In float32 every logit is within 1e-3 of the independent reference and the greedy tokens are its
own. In bfloat16 the logits are held against the reference rounded at the same points, in standard
deviations: in the dense prompt at every position; in the sparse one a near tie may flip a
selection, so there half of the positions are, and the others are counted.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import sala_compile
from benchmarks.gpu.budget import Row, measure
from benchmarks.gpu.part import part

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "data"
"""The checkpoints and their expected values, of the checkout; prepared are those of bfloat16."""
FLOAT32_ALLOWED = 1e-3
BFLOAT16_ALLOWED = 0.05
DTYPES = ("float32", "bfloat16")
PROMPTS = ("p0", "p1")
GREEDY = 32


def check(artifact: Path, golden: dict[str, np.ndarray], dtype: str, device: str) -> dict[str, Any]:
    """One artifact beside the stored logits; `golden` has `rounded` logits for bfloat16."""
    longest = max(len(golden[f"{name}.input_ids"]) for name in PROMPTS) + GREEDY
    differences, equal = [], 0
    with sala_compile.load(
        artifact, context=longest, chunk=64, device=device, poison=True
    ) as model:
        for name in PROMPTS:
            ids = golden[f"{name}.input_ids"]
            differences.append(_differences(model.logits(ids), golden, name, dtype))
            answer = model.generate(ids, max_new_tokens=GREEDY, ignore_eos=True)
            equal += answer == golden[f"{name}.greedy_ids"].tolist()
    sparse, dense = differences
    if dtype == "float32":
        passed = max(sparse.max(), dense.max()) <= FLOAT32_ALLOWED and equal == len(PROMPTS)
        allowed, largest = FLOAT32_ALLOWED, float(max(sparse.max(), dense.max()))
    else:
        passed = dense.max() <= BFLOAT16_ALLOWED and np.median(sparse) <= BFLOAT16_ALLOWED
        allowed, largest = BFLOAT16_ALLOWED, float(max(np.median(sparse), dense.max()))
    return {
        "checkpoint": artifact.stem.removeprefix("golden-").removesuffix(f"-{dtype}"),
        "dtype": dtype,
        "largest_difference": largest,
        "allowed": allowed,
        "greedy": f"{equal}/{len(PROMPTS)} prompts",
        "beyond": int((sparse > allowed).sum()),
        "passed": bool(passed),
    }


def _differences(
    found: np.ndarray, golden: dict[str, np.ndarray], name: str, dtype: str
) -> np.ndarray:
    """The largest difference of a logit at each position."""
    if dtype == "float32":
        return np.abs(found - golden[f"{name}.prefill_logits"]).max(1)
    expected = golden[f"{name}.rounded_logits"]
    return np.abs(found - expected).max(1) / expected.std()


def rows(prepared: Path, device: str) -> Iterator[Row]:
    """A row for each golden checkpoint and element type."""
    for tensors in sorted(prepared.glob("golden-*.safetensors")):
        for dtype in DTYPES:
            artifact = prepared / f"{tensors.stem}-{dtype}.sala"

            def work(
                artifact: Path = artifact, tensors: Path = tensors, dtype: str = dtype
            ) -> dict[str, Any]:
                known = GOLDEN / tensors.stem.removeprefix("golden-") / "golden.safetensors"
                return check(artifact, load_file(known) | load_file(tensors), dtype, device)

            yield artifact.stem, work


def main() -> None:
    """Check every prepared golden artifact."""
    with part(__doc__) as mine:
        measure(mine.document, mine.budget, rows(mine.options.prepared, mine.options.device))


if __name__ == "__main__":
    main()
