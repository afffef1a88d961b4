"""Exported models in onnxruntime, and in the reference evaluator of onnx: the stored logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.model_session import ModelSession
from tests.codegen.onnx_export.conftest import require_whole_inference

PROMPTS = {
    "sala-tiny-a": ("p0", "p1"),
    "sala-tiny-b": ("p0", "p1"),
    "minicpm-a": ("p0", "p1", "p2", "p3"),
    "minicpm-nope": ("p2", "p3"),
    "hypenet-a": ("p0", "p1", "p2", "p3"),
    "llama-llama3-a": ("p1", "p2"),
    "llama-tied-a": ("p1", "p2"),
    "qwen3-a": ("p1", "p2"),
    "olmo_hybrid-a": ("p0", "p2"),
    "falcon_h1-a": ("p0", "p2"),
}
"""Golden checkpoint -> its prompts: each family, both paths of attention, prompts that cross."""
EVERY = [(name, prompt) for name, prompts in PROMPTS.items() for prompt in prompts]
LIMIT = 2e-4
NARROW_LIMIT = 0.1
"""Largest difference of a float16 logit; their standard deviation is about 2.5."""
MOST_FLIPPED = 0.02
"""Part of the rows for which float16 may choose another block."""

every_prompt = pytest.mark.parametrize(("name", "prompt"), EVERY)
every_name = pytest.mark.parametrize("name", PROMPTS)


@every_prompt
def test_prefill_whole_and_in_pieces_then_decode(
    opened: Any, expected: Any, name: str, prompt: str
) -> None:
    golden, session = expected(name), opened(name)
    ids, greedy = golden[f"{prompt}.input_ids"], golden[f"{prompt}.greedy_ids"]
    wanted, decoded = golden[f"{prompt}.prefill_logits"], golden[f"{prompt}.decode_logits"]
    np.testing.assert_allclose(session(ids)[0], wanted, rtol=0, atol=LIMIT)
    session.restart()
    pieces = np.split(ids, range(37, len(ids), 37))
    found = np.concatenate([session(piece, len(ids))[0] for piece in pieces])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=LIMIT)
    rows = [session([token])[0, -1] for token in greedy[:-1]]
    np.testing.assert_allclose(np.stack(rows), decoded[1:], rtol=0, atol=LIMIT)
    assert [int(row.argmax()) for row in rows] == greedy[1:].tolist()


@every_prompt
def test_float16_within_what_it_holds(opened: Any, expected: Any, name: str, prompt: str) -> None:
    """Few rows differ by more: those whose blocks are chosen by scores that nearly tie."""
    golden, session = expected(name), opened(name, OnnxElement.FLOAT16)
    found = session(golden[f"{prompt}.input_ids"])
    assert found.dtype == np.float32
    errors = np.abs(found[0] - golden[f"{prompt}.prefill_logits"]).max(axis=1)
    others = (errors > NARROW_LIMIT).sum()
    has_blocks = any(each.name == "call_lengths" for each in session.runner.get_inputs())
    assert others <= (MOST_FLIPPED * len(errors) if has_blocks else 0)


@pytest.mark.parametrize("element", OnnxElement)
@every_name
def test_the_checker_and_strict_inference_pass(
    exported: Any, name: str, element: OnnxElement
) -> None:
    require_whole_inference(exported(name, element))


class _Evaluator:
    """The reference evaluator as a session."""

    def __init__(self, path: Path, session: Any) -> None:
        self._evaluator = ReferenceEvaluator(str(path))
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self.run = self._evaluator.run


def test_the_reference_evaluator_agrees(exported: Any, opened: Any, expected: Any) -> None:
    golden = expected("sala-tiny-a")
    path, runner = exported("sala-tiny-a"), opened("sala-tiny-a").runner
    session = ModelSession(_Evaluator(path, runner))
    ids = golden["p0.input_ids"]
    found = np.concatenate([session(ids[:70], len(ids)), session(ids[70:90], len(ids))], axis=1)
    wanted = golden["p0.prefill_logits"][:90]
    np.testing.assert_allclose(found[0], wanted, rtol=0, atol=LIMIT)


@pytest.mark.parametrize("shortest", [20, 70])
@pytest.mark.parametrize("where", ["left", "right", "anywhere"])
@pytest.mark.parametrize(
    "name", ["sala-tiny-a", "hypenet-a", "minicpm-a", "olmo_hybrid-a", "falcon_h1-a"]
)
def test_padding_changes_nothing(opened: Any, name: str, where: str, shortest: int) -> None:
    """A batch of three lengths, on both paths of attention or one, gives what each gives."""
    generator, width = np.random.default_rng(3), 130
    lengths = [shortest, shortest + 43, 128]
    texts = [generator.integers(0, 250, length + 3) for length in lengths]
    alone = opened(name)
    ids, mask = np.zeros((3, width), np.int64), np.zeros((3, width), np.int64)
    wanted: list[np.ndarray] = []
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        places = {
            "left": np.arange(width - length, width),
            "right": np.arange(length),
            "anywhere": np.sort(generator.choice(width, length, replace=False)),
        }[where]
        ids[row, places], mask[row, places] = text[:length], 1
        alone.restart()
        steps = [alone(text[:length])[0], *(alone([token])[0] for token in text[length:])]
        wanted.append(np.concatenate(steps))
    session = opened(name, batch=3)
    cuts = (slice(0, 50), slice(50, width))
    found = [session(ids[:, cut], lengths, mask[:, cut]) for cut in cuts]
    prefill = np.concatenate(found, axis=1)
    following = np.stack([text[length:] for text, length in zip(texts, lengths, strict=True)])
    more = [session(following[:, at]) for at in range(3)]
    for row in range(3):
        rows = [prefill[row][mask[row] == 1], *(step[row] for step in more)]
        np.testing.assert_allclose(np.concatenate(rows), wanted[row], rtol=0, atol=LIMIT)
