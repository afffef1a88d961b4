"""The golden checkpoints end to end on the device.

    python -m benchmarks.gpu.golden build/gpu --output build/gpu/results/golden.json

In float32 every logit is within 1e-3 of the independent reference and the greedy tokens are its
own. In bfloat16 the logits are held against the reference rounded at the same points, in standard
deviations: in the dense prompt at every position; in the sparse one a near tie may flip a
selection, so there half of the positions are, and the others are counted.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import runtime

FLOAT32_ALLOWED = 1e-3
BFLOAT16_ALLOWED = 0.05
DTYPES = ("float32", "bfloat16")
PROMPTS = ("p0", "p1")
GREEDY = 32


def check(artifact: Path, golden: dict[str, np.ndarray], dtype: str, device: str) -> dict[str, Any]:
    """One artifact beside the stored logits; `golden` has `rounded` logits for bfloat16."""
    longest = max(len(golden[f"{name}.input_ids"]) for name in PROMPTS) + GREEDY
    differences, equal = [], 0
    with runtime.load(artifact, context=longest, chunk=64, device=device, poison=True) as model:
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


def main() -> None:
    """Check every prepared golden artifact; exit with 1 where one does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    rows = []
    for tensors in sorted(options.prepared.glob("golden-*.safetensors")):
        golden = load_file(tensors)
        for dtype in DTYPES:
            artifact = options.prepared / f"{tensors.stem}-{dtype}.sala"
            rows.append(check(artifact, golden, dtype, options.device))
            print(rows[-1])
    options.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    raise SystemExit(0 if rows and all(row["passed"] for row in rows) else 1)


if __name__ == "__main__":
    main()
