"""Golden vectors whose numbers would lead kernels out of their buffers: refused, never run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sala_compile.runtime.artifact import GOLDEN_NAME, GOLDEN_TENSORS_NAME
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.artifact.tensors import read_header
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.verify import verify_artifact
from tests.support.repaired import edit, put, repair

ATTEND, SELECT, EMBED, APPEND = "attend_blocks", "select_blocks", "embedding", "append_kv"
HUGE = 2**31 - 1


@pytest.fixture
def copy(compiled: Callable[[str], Path], tmp_path: Path) -> Path:
    """A compiled artifact that a test may change."""
    return Path(shutil.copytree(compiled("float32"), tmp_path / "copy.sala"))


def _arguments(directory: Path, kernel: str) -> tuple[int, list[str]]:
    """The number of the first vector of a family, and the names of its arguments."""
    vectors = json.loads((directory / GOLDEN_NAME).read_bytes())["kernels"]
    number = next(i for i, v in enumerate(vectors) if v["kernel"].startswith(kernel))
    program = json.loads((directory / "program.json").read_bytes())
    steps = (s for p in program["targets"]["cpu"]["phases"].values() for s in p["steps"])
    step = next(s for s in steps if s["kernel"] == vectors[number]["kernel"])
    return number, step["arguments"]


def _spoil(directory: Path, kernel: str, name: str, change: Callable[[Any], None]) -> None:
    """Change the argument `name` of the first vector of a family."""
    number, names = _arguments(directory, kernel)
    place = names.index(name)
    edit(directory, GOLDEN_NAME, lambda g: change(g["kernels"][number]["arguments"][place]))


def _refused(directory: Path, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        verify_artifact(directory)
    assert "golden.json" in str(caught.value.where)


@pytest.mark.parametrize(
    ("kernel", "name", "path", "value", "message"),
    [
        (ATTEND, "control", ("values", 0), HUGE, "or more"),
        (ATTEND, "control", ("values", 0), -1, "sizes from 0"),
        (ATTEND, "control", ("values", 1), 100_000, "or more"),
        (ATTEND, "control", ("values",), [1] * 17, r"int32\[17\]"),
        (ATTEND, "token_sequence", ("values", 0), 99, "token_sequence of the vector"),
        (ATTEND, "token_sequence", ("values", 0), -1, "token_sequence of the vector"),
        (ATTEND, "token_position", ("values", 0), HUGE, "token_position|columns|page_table"),
        (ATTEND, "token_position", ("values", 1), 5, "one after the other"),
        (ATTEND, "offsets", ("values", 1), HUGE, "offsets of the vector"),
        (ATTEND, "offsets", ("values", 1), -4, "offsets of the vector"),
        (ATTEND, "slots", ("values", 0), 4, "slots of the vector"),
        (ATTEND, "slots", ("values", 0), -1, "slots of the vector"),
        (ATTEND, "page_table", ("values",), [-1], "page_table of the vector"),
        (ATTEND, "page_table", ("values",), [HUGE], "page_table of the vector"),
        (ATTEND, "page_table", ("shape",), [4, 1], "a literal of the shape"),
        (SELECT, "compressed_table", ("values",), [HUGE], "compressed_table of the vector"),
        (SELECT, "token_position", ("values",), [HUGE], "one after the other|or more"),
        (SELECT, "call_lengths", ("values",), [-1], "call_lengths"),
        (APPEND, "page_table", ("values",), [10**6], "page_table of the vector"),
    ],
)
def test_numbers_that_lead_out_are_refused(
    copy: Path, kernel: str, name: str, path: tuple[Any, ...], value: Any, message: str
) -> None:
    _spoil(copy, kernel, name, put(*path, value))
    _refused(copy, message)


@pytest.mark.parametrize("token", [-1, HUGE, 10**6])
def test_token_ids_beyond_the_vocabulary_are_refused(copy: Path, token: int) -> None:
    number, names = _arguments(copy, EMBED)
    golden = json.loads((copy / GOLDEN_NAME).read_bytes())
    tensor = golden["kernels"][number]["arguments"][names.index("tokens")]["tensor"]
    place = read_header(OpenFile.at(copy / GOLDEN_TENSORS_NAME))[tensor]
    data = bytearray((copy / GOLDEN_TENSORS_NAME).read_bytes())
    data[place.offset : place.offset + 4] = np.int32(token).tobytes()
    (copy / GOLDEN_TENSORS_NAME).write_bytes(data)
    repair(copy)
    _refused(copy, "tokens of the vector is from")


def _literal(*shape: int, dtype: str = "int32") -> dict[str, Any]:
    return {"source": "literal", "dtype": dtype, "shape": shape, "values": [0]}


@pytest.mark.parametrize(
    ("number", "argument", "message"),
    [
        (1, _literal(1), "or more"),
        (1, _literal(40, 2), r"int32\[40, 2\]"),
        (1, _literal(40, dtype="int8"), "int8"),
        (1, _literal(10**11), "the vector takes"),
        (1, {"source": "random", "seed": 1, "dtype": "int32", "shape": [10**11]}, "takes"),
        (1, {"source": "control", "values": [1, 2, 3]}, "control alone does"),
        (1, {"source": "tensor", "tensor": "none"}, "there is no tensor none"),
        (1, {"source": "weight", "tensor": "none"}, "there is no weight 'none'"),
        (0, _literal(16), "control alone does"),
        (-1, {"source": "scratch", "dtype": "float32", "columns": 1}, "or more|float32"),
        (
            -1,
            {"source": "scratch", "dtype": "float32", "columns": 10**12},
            "the vector takes|float",
        ),
    ],
)
def test_arguments_of_another_form_are_refused(
    copy: Path, number: int, argument: dict[str, Any], message: str
) -> None:
    vector, _ = _arguments(copy, ATTEND)
    edit(copy, GOLDEN_NAME, put("kernels", vector, "arguments", number, argument))
    with pytest.raises(ArtifactError, match=message):
        verify_artifact(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("kernels", 0, "kernel", "tiny_other"), "no step of the program calls tiny_other"),
        (put("kernels", 0, "target", "cpu:none"), "NOTHING"),
        (put("kernels", 0, "arguments", []), "has 0 arguments"),
        (put("kernels", 0, "arguments", 0, "values", 0, "x"), "arguments.0.*values.0"),
        (put("kernels", 0, "arguments", 0, "values", 0, 2**31), "values.0"),
        (put("models", 0, "token_ids", "model/logits"), "model/logits is float32"),
        (put("models", 0, "logits", "model/token_ids"), "model/token_ids is int32"),
        (put("models", 0, "logits", "none"), "there is no tensor none"),
        (put("models", 0, "absolute", -1), "absolute"),
        (put("models", 0, "absolute", float("nan")), "NaN"),
        (put("models", 0, "absolute", float("inf")), "Infinity"),
        (put("models", {}), "models"),
        (put("surprise", 1), "surprise"),
    ],
)
def test_malformed_vectors_are_named(
    copy: Path, change: Callable[[Any], None], message: str
) -> None:
    edit(copy, GOLDEN_NAME, change)
    if message == "NOTHING":  # vectors of a target that does not run here are told, not run
        assert verify_artifact(copy).skipped == ("cpu:none",)
        return
    with pytest.raises(ArtifactError, match=message):
        verify_artifact(copy)


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 5000, '{"models": [', "\xff", "9" * 5000])
def test_what_is_no_golden_file_is_one_error(copy: Path, text: str) -> None:
    (copy / GOLDEN_NAME).write_bytes(text.encode("latin-1"))
    repair(copy)
    with pytest.raises(ArtifactError):
        verify_artifact(copy)


def _set_tensor(directory: Path, name: str, values: np.ndarray) -> None:
    """Overwrite the first elements of a golden tensor."""
    path = directory / GOLDEN_TENSORS_NAME
    place, data = read_header(OpenFile.at(path))[name], bytearray(path.read_bytes())
    data[place.offset : place.offset + values.nbytes] = values.tobytes()
    path.write_bytes(data)
    repair(directory)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["model", "kernel"])
def test_values_that_are_no_numbers_never_hold(copy: Path, kind: str, wrong: float) -> None:
    """One of them among the expected ones, in the model's logits and in an output of a kernel."""
    golden = json.loads((copy / GOLDEN_NAME).read_bytes())
    number, _ = _arguments(copy, "linear")
    vector = golden["kernels"][number]
    outputs = [a["expected"] for a in vector["arguments"] if a["source"] == "output"]
    name = "model/logits" if kind == "model" else outputs[0]
    _set_tensor(copy, name, np.array([wrong], np.float32))
    report = verify_artifact(copy)
    failed = [result for result in report.results if not result.passed]
    assert [result.kind.value for result in failed] == [kind]
    assert failed[0].name == (golden["models"][0]["name"] if kind == "model" else vector["name"])
    assert failed[0].problem is not None
    assert "1 of" in failed[0].problem
    assert "expected values are NaN or infinite" in failed[0].problem


def test_a_vector_that_compares_nothing_does_not_hold(copy: Path) -> None:
    """The pools of a kernel, all of them NaN before and after: nothing says what it computes."""
    golden = json.loads((copy / GOLDEN_NAME).read_bytes())
    number, _ = _arguments(copy, APPEND)
    header = read_header(OpenFile.at(copy / GOLDEN_TENSORS_NAME))
    for argument in golden["kernels"][number]["arguments"]:
        if argument["source"] == "output":
            for name in (argument["initial"]["tensor"], argument["expected"]):
                _set_tensor(copy, name, np.full(header[name].spec.shape, np.nan, np.float32))
    result = next(r for r in verify_artifact(copy).results if not r.passed)
    assert result.problem == "no value is compared"
