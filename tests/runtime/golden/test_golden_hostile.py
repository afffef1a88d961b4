"""Golden files that name what is not there, or would lead out of buffers: refused, never run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sala_compile.runtime.artifact import GOLDEN_NAME, GOLDEN_TENSORS_NAME
from sala_compile.runtime.artifact.mapped_tensors import read_header
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.errors import ArtifactError, SalaError
from sala_compile.runtime.verify import verify_artifact
from tests.support.repaired import edit, put, repair

ATTEND, SELECT, APPEND = "attend_blocks", "select_blocks", "append_kv"
HUGE = 2**31 - 1


@pytest.fixture
def copy(compiled: Callable[[str], Path], tmp_path: Path) -> Path:
    """A compiled artifact that a test may change."""
    return Path(shutil.copytree(compiled("float32"), tmp_path / "copy.sala"))


def _golden(directory: Path) -> dict[str, Any]:
    return json.loads((directory / GOLDEN_NAME).read_bytes())


def _number(directory: Path, kernel: str) -> int:
    """The number of the first vector of a family."""
    vectors = _golden(directory)["kernels"]
    return next(i for i, v in enumerate(vectors) if v["kernel"].startswith(kernel))


def _set_tensor(directory: Path, name: str, values: np.ndarray) -> None:
    """Overwrite the first elements of a golden tensor."""
    path = directory / GOLDEN_TENSORS_NAME
    place, data = read_header(OpenFile.at(path))[name], bytearray(path.read_bytes())
    data[place.offset : place.offset + values.nbytes] = values.tobytes()
    path.write_bytes(data)
    repair(directory)


@pytest.mark.parametrize("token", [-1, HUGE, 10**6])
def test_token_ids_beyond_the_vocabulary_are_refused(copy: Path, token: int) -> None:
    tensor = _golden(copy)["sequences"][1]["token_ids"]
    _set_tensor(copy, tensor, np.array([token], np.int32))
    with pytest.raises(ArtifactError, match="not all of them of tokens") as caught:
        verify_artifact(copy)
    assert "golden.json" in str(caught.value.where)


@pytest.mark.parametrize(
    ("kernel", "change", "message"),
    [
        (ATTEND, {"kernel": "tiny_other"}, "does not call tiny_other"),
        (ATTEND, {"step": 10**6}, "step 1000000 of prefill"),
        (ATTEND, {"step": 0}, "step 0 of prefill does not call"),
        (ATTEND, {"phase": "sample"}, "of sample does not call"),
        (ATTEND, {"phase": "logits"}, "of logits does not call"),
        (ATTEND, {"target": "cpu:none"}, None),
        (ATTEND, {"given": {"control": "0/logits.0.in.0"}}, "control is no activation"),
        (ATTEND, {"given": {"page_table": "0/logits.0.in.0"}}, "page_table is no activation"),
        (ATTEND, {"given": {"layers.0.kv_cache.k": "x"}}, "is no activation"),
        (ATTEND, {"given": {"nothing": "x"}}, "nothing is no activation"),
        (ATTEND, {"given": {"hidden": "0/logits.0.in.0"}}, "hidden is no activation"),
        (ATTEND, {"expected": {"control": {"tensor": "x"}}}, "control is no activation"),
        (SELECT, {"states": {"layers.0.kv_cache.k": []}}, "no state that a step writes"),
        (APPEND, {"states": {"nothing": [{"tensor": "x"}] * 4}}, "nothing of sequence 0"),
    ],
)
def test_vectors_of_other_steps_are_refused(
    copy: Path, kernel: str, change: dict[str, Any], message: str | None
) -> None:
    number = _number(copy, kernel)
    edit(copy, GOLDEN_NAME, lambda golden: golden["kernels"][number].update(change))
    if message is None:  # vectors of a target that does not run here are told, not run
        assert verify_artifact(copy).skipped == ("cpu:none",)
        return
    with pytest.raises(ArtifactError, match=message):
        verify_artifact(copy)


def test_chosen_blocks_are_never_given(copy: Path) -> None:
    """A kernel follows them without a check: they come from the run alone."""
    number, select = _number(copy, ATTEND), _golden(copy)["kernels"][_number(copy, SELECT)]
    blocks = next(iter(select["expected"]))
    edit(copy, GOLDEN_NAME, put("kernels", number, "given", blocks, "0/prefill.0.out.0"))
    with pytest.raises(ArtifactError, match="is no activation"):
        verify_artifact(copy)


@pytest.mark.parametrize("part", ["given", "expected"])
def test_tensors_that_do_not_fit_are_refused(copy: Path, part: str) -> None:
    """Of another rank and element type than the value, or none at all."""
    number = _number(copy, "linear")
    value = next(iter(_golden(copy)["kernels"][number][part]))
    for tensor in ("none", _golden(copy)["sequences"][0]["token_ids"]):
        name = tensor if part == "given" else {"tensor": tensor}
        edit(copy, GOLDEN_NAME, put("kernels", number, part, value, name))
        with pytest.raises(
            ArtifactError, match=r"there is no tensor none|at most \[|is (int|float)"
        ):
            verify_artifact(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("sequences", 0, "token_ids", "12 tokens/logits"), "12 tokens/logits is float32"),
        (put("sequences", 0, "logits", "12 tokens/token_ids"), "12 tokens/token_ids is int32"),
        (put("sequences", 0, "logits", "none"), "there is no tensor none"),
        (put("sequences", 0, "absolute", -1), "absolute"),
        (put("sequences", 0, "absolute", float("nan")), "NaN"),
        (put("sequences", 0, "absolute", float("inf")), "Infinity"),
        (put("sequences", 1, "history", -1), "history"),
        (put("sequences", 1, "history", 2**40), "history"),
        (put("sequences", 1, "call_length", 1), "call_length is 1"),
        (put("sequences", 1, "call_length", HUGE + 1), "call_length"),
        (put("sequences", []), "no sequences that they are run on"),
        (put("sequences", {}), "sequences"),
        (put("seed", -1), "seed"),
        (put("surprise", 1), "surprise"),
    ],
)
def test_malformed_sequences_are_named(
    copy: Path, change: Callable[[Any], None], message: str
) -> None:
    edit(copy, GOLDEN_NAME, change)
    with pytest.raises(ArtifactError, match=message):
        verify_artifact(copy)


def test_more_sequences_than_memory_has_room_for_are_one_error(copy: Path) -> None:
    def many(golden: dict[str, Any]) -> None:
        golden["sequences"] = [golden["sequences"][1] | {"history": 2**17}] * 100_000

    edit(copy, GOLDEN_NAME, many)
    with pytest.raises(SalaError):
        verify_artifact(copy)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "[" * 5000, '{"kernels": [', "\xff", "9" * 5000]
)
def test_what_is_no_golden_file_is_one_error(copy: Path, text: str) -> None:
    (copy / GOLDEN_NAME).write_bytes(text.encode("latin-1"))
    repair(copy)
    with pytest.raises(ArtifactError):
        verify_artifact(copy)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["model", "kernel"])
def test_values_that_are_no_numbers_never_hold(copy: Path, kind: str, wrong: float) -> None:
    """One of them among the expected ones, in the model's logits and in an output of a kernel."""
    golden = _golden(copy)
    vector = golden["kernels"][_number(copy, "linear")]
    sequence = golden["sequences"][0]
    expected = next(iter(vector["expected"].values()))["tensor"]
    name = sequence["logits"] if kind == "model" else expected
    _set_tensor(copy, name, np.array([wrong], np.float32))
    failed = [result for result in verify_artifact(copy).results if not result.passed]
    assert [result.kind.value for result in failed] == [kind]
    assert failed[0].name == (sequence["name"] if kind == "model" else vector["name"])
    assert failed[0].problem is not None
    assert "1 of" in failed[0].problem
    assert "expected values are NaN or infinite" in failed[0].problem


def test_a_vector_that_compares_nothing_does_not_hold(copy: Path) -> None:
    number = _number(copy, APPEND)
    edit(copy, GOLDEN_NAME, put("kernels", number, "states", {}))
    result = next(r for r in verify_artifact(copy).results if not r.passed)
    assert result.problem == "no value is compared"
