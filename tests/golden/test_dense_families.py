"""Dense models of many shapes against the logits that transformers 5.23 computes with them."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import sala_compile
from tests.golden.dense_families.cases import CASES, DECODED, ROWS, SEED, prompt
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint
from tests.support.sequences import assert_bits_stay

EXPECTED = load_file(Path(__file__).parent / "dense_families" / "expected.safetensors")
LIMIT = 2e-4


@pytest.mark.parametrize("name", CASES)
def test_the_reference(name: str, tmp_path: Path) -> None:
    """What every kernel is tested against, in float64: frontends and their rotary tables."""
    model = reference_model(write_checkpoint(tmp_path, CASES[name], seed=SEED))
    found = model.prefill(prompt(name))
    rows = [found[-1]]
    for _ in range(DECODED):
        rows.append(model.decode(int(rows[-1].argmax())))
    _compare(name, found, rows[1:])


@pytest.mark.parametrize(
    "name", ["llama-all-biases", "llama-long-rope", "qwen2", "qwen3-yarn-tied"]
)
def test_the_compiled_model(name: str, tmp_path: Path) -> None:
    """float32, read at once, in other chunks, and decoded: also beyond a scaling's first length.

    Its bits stay in any cut, batch, fork and saved state.
    """
    checkpoint = write_checkpoint(tmp_path / "checkpoint", CASES[name], seed=SEED)
    compile_checkpoint(checkpoint, tmp_path / "model.sala")
    ids = prompt(name)
    options = {"context": 128, "batch": 4, "chunk": 128, "speculate": 3}
    with sala_compile.load(tmp_path / "model.sala", **options) as model:
        for chunk in (None, 7):
            found = model.logits(ids, chunk=chunk)
            with model.sequence() as sequence:
                rows = [sequence.append(ids)]
                for _ in range(DECODED):
                    rows.append(sequence.append([int(rows[-1].argmax())]))
            _compare(name, found, rows[1:])
        others = [np.array(ids[:5], np.int32), np.array(ids[3:70], np.int32)]
        file = tmp_path / "sequence.state"
        assert_bits_stay(model, np.array(ids, np.int32), [7, 11], others, file)


def _compare(name: str, found: np.ndarray, decoded: list[np.ndarray]) -> None:
    wanted = EXPECTED[f"{name}.prompt"]
    np.testing.assert_allclose(found[list(ROWS)], wanted, rtol=0, atol=LIMIT)
    np.testing.assert_allclose(decoded, EXPECTED[f"{name}.decoded"], rtol=0, atol=LIMIT)
