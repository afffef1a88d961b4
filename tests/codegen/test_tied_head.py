"""A head that shares the embedding's matrix: once as values, or a copy of 8 bits of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.codegen.compiler import CompileResult
from sala_compile.codegen.options import WeightRounding
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization, TiedHead
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.verify import verify_artifact
from tests.support.compiled import compile_checkpoint
from tests.support.gguf_files import dense_config, write_models

EMBEDDING = "model.embed_tokens.weight"
IDS = [int(i) for i in np.random.default_rng(5).integers(3, 300, 70)]
ROUNDED: dict[str, Any] = {
    "quantization": Quantization.INT8,
    "rounding": WeightRounding.NEAREST,
}


def kinds(result: CompileResult) -> set[tuple[str, str]]:
    """What embedding and head are stored as."""
    found = result.summary["weights"]["kinds"]
    return {
        (entry["kind"], entry["encoding"])
        for entry in found
        if "embedding" in entry["kind"] or "head" in entry["kind"]
    }


def logits(path: Path) -> np.ndarray:
    with sala_compile.load(path, context=128, batch=1, chunk=64, poison=True) as model:
        return model.logits(IDS)


def test_embedding_and_head_read_the_same_integers_of_a_gguf_file(tmp_path: Path) -> None:
    """No value is rounded: in float32 the logits are those of the values."""
    config = dense_config("qwen3", tie_word_embeddings=True)
    path, plain = write_models(tmp_path, config, lambda name: "Q8_0")
    output = tmp_path / "a.sala"
    result = compile_checkpoint(path, output)
    assert kinds(result) == {("embedding and head", "int8-g32")}
    compile_checkpoint(plain, tmp_path / "b.sala")
    wanted = logits(tmp_path / "b.sala")
    np.testing.assert_allclose(logits(output), wanted, rtol=0, atol=2e-5 * wanted.std())
    info = open_artifact(output).manifest.quantization
    assert info is not None
    found = {name: (entry.role, entry.encoding) for name, entry in info.tensors.items()}
    assert found[EMBEDDING] == ("embedding and head", "int8-g32")


def test_rounding_gives_the_head_a_copy(tmp_path: Path) -> None:
    path, _ = write_models(tmp_path, dense_config(tie_word_embeddings=True), lambda name: "F32")
    stored: dict[TiedHead, np.ndarray] = {}
    for choice, wanted in (
        (TiedHead.AUTO, {("embedding", "plain"), ("head", "int8-g128")}),
        (TiedHead.SHARED, {("embedding and head", "plain")}),
    ):
        output = tmp_path / f"{choice}.sala"
        result = compile_checkpoint(path, output, tied_head=choice, **ROUNDED)
        assert kinds(result) == wanted
        assert verify_artifact(output).passed
        stored[choice] = logits(output)
    shared = stored[TiedHead.SHARED]
    moved = np.sqrt(np.mean((stored[TiedHead.AUTO] - shared) ** 2)) / shared.std()
    assert 1e-4 < moved < 0.01
    info = open_artifact(tmp_path / "auto.sala").manifest.quantization
    assert info is not None
    error = info.tensors[f"{EMBEDDING} (head)"].weight_error
    assert error is not None
    assert 1e-4 < error < 0.01
    assert info.tensors[EMBEDDING].weight_error is None


def test_a_file_of_integers_keeps_a_head_of_floats_unless_asked(tmp_path: Path) -> None:
    path, _ = write_models(
        tmp_path,
        dense_config(tie_word_embeddings=True),
        lambda name: "F16" if "embed" in name else "Q4_0",
    )
    result = compile_checkpoint(path, tmp_path / "a.sala", dtype=Precision.BFLOAT16)
    assert kinds(result) == {("embedding and head", "plain")}
    options: dict[str, Any] = {"tied_head": TiedHead.INT8, "dtype": Precision.BFLOAT16}
    result = compile_checkpoint(path, tmp_path / "b.sala", **options)
    assert kinds(result) == {("embedding", "plain"), ("head", "int8-g128")}
    assert verify_artifact(tmp_path / "b.sala").passed


@pytest.mark.parametrize(
    ("tied", "options", "found"),
    [(True, {}, "not quantised"), (False, ROUNDED, "no tied head")],
)
def test_a_copy_that_makes_no_sense_is_refused(
    tmp_path: Path, tied: bool, options: dict[str, Any], found: str
) -> None:
    config = dense_config(tie_word_embeddings=tied)
    path, _ = write_models(tmp_path, config, lambda name: "F32")
    with pytest.raises(RequestError, match=found):
        compile_checkpoint(path, tmp_path / "a.sala", tied_head=TiedHead.INT8, **options)
