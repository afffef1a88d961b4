"""Checkpoints of other shapes than the golden ones, against the reference in float64."""

import numpy as np
import pytest

import sala_compile
from tests.support.checkpoints import VARIATIONS, reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

CROSSING = (63, 64, 65)
"""Lengths around `dense_len` of most variations."""
LONG = 150


@pytest.mark.parametrize("name", VARIATIONS)
def test_logits_of_prompts_and_of_decoded_tokens(tmp_path, name):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", VARIATIONS[name], seed=1)
    compile_checkpoint(checkpoint, tmp_path / "model.sala")
    ids = np.random.default_rng(3).integers(0, VARIATIONS[name]["vocab_size"], LONG)
    reference = reference_model(checkpoint)
    with sala_compile.load(tmp_path / "model.sala", context=256, chunk=LONG) as model:
        for length in (1, *CROSSING, LONG):
            wanted = reference.prefill(ids[:length].tolist())
            for chunk in (37, None):
                found = model.logits(ids[:length], chunk=chunk)
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
        _decode_across(model, reference, ids)


def _decode_across(model, reference, ids: np.ndarray) -> None:
    """Prefill below `dense_len`, then decode beyond it."""
    reference.prefill(ids[:60].tolist())
    with model.sequence() as sequence:
        sequence.append(ids[:60])
        for token in ids[60:70]:
            wanted = reference.decode(int(token))
            found = sequence.append([int(token)])
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
