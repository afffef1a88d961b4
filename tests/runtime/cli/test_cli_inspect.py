"""sala-inspect on a hand-made artifact."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sala_compile.runtime.artifact import ArtifactWriter, Manifest, PassInfo, write_artifact
from sala_compile.runtime.cli import inspect
from tests.support import handmade as tiny

GRAPH = 'builtin.module {\n  // [bold] stays as it is\n  %x = "sala.embedding"() : () -> i32\n}\n'

GENERIC = '"builtin.module"() ({\n}) : () -> ()\n'
DEFINITION = """irdl.dialect @sala {
  irdl.operation @op {
    %0 = irdl.any
    irdl.operands(x: %0, y: optional %0)
    irdl.attributes {
      "a" = %0
    }
  }
}
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made artifact with a graph, passes and kernels."""
    kernel = {
        "symbol": "tiny_hidden",
        "family": "tiny",
        "rule": "plain",
        "rejected": [{"rule": "wide", "reason": "16 columns"}],
    }

    def write(writer: ArtifactWriter) -> Manifest:
        writer.write_bytes("model.mlir", GRAPH.encode())
        writer.write_bytes("model.generic.mlir", GENERIC.encode())
        writer.write_bytes("sala.irdl.mlir", DEFINITION.encode())
        passes = (PassInfo(name="fold-scales", before=9, after=7),)
        return tiny.fill(writer, passes=passes, kernels=(kernel,))

    path = tmp_path_factory.mktemp("inspected") / "tiny.sala"
    write_artifact(path, write)
    return path


def _inspect(*arguments: Any) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(inspect.command, words, prog_name="sala-inspect")


def _document(*arguments: Any) -> dict[str, Any]:
    result = _inspect(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_manifest_is_shown_by_default(artifact: Path):
    result = _inspect(artifact)
    assert result.exit_code == 0
    for words in ("tiny, vocabulary 29", "fold-scales", "x86-64", "no tokenizer", "apache-tvm-ffi"):
        assert words in result.stdout
    assert _document(artifact)["manifest"]["model"]["vocabulary"] == 29


@pytest.mark.parametrize(
    ("config", "shown"),
    [("{}", "tokenizer"), ('{"chat_template": "x"}', "tokenizer and chat template")],
)
def test_what_text_is_supported_is_told(tmp_path: Path, config: str, shown: str):
    def write(writer: ArtifactWriter) -> Manifest:
        writer.write_bytes("tokenizer.json", b"{}")
        writer.write_bytes("tokenizer_config.json", config.encode())
        return tiny.fill(writer)

    write_artifact(tmp_path / "x.sala", write)
    lines = _inspect(tmp_path / "x.sala").stdout.splitlines()
    text = next(line for line in lines if line.startswith("text "))
    assert text.split(maxsplit=1)[1].rstrip() == shown
    assert [line.split() for line in lines if line.startswith("answers end")] == [
        ["answers", "end", "at", "token", "3"]
    ]


def test_memory_by_context_adds_up_and_equals_the_loaded_model(artifact: Path):
    from sala_compile import load

    document = _document(
        *(artifact, "--memory", "--context", "1K", "--context", "4K", "--batch", 2, "--threads", 1)
    )
    memory = document["memory"]
    assert [entry["context"] for entry in memory["by_context"]] == [1024, 4096]
    for entry in memory["by_context"]:
        assert entry["total_bytes"] == sum(entry["parts"].values())
    with load(artifact, context=1024, batch=2, threads=1) as model:
        assert model.info()["memory"]["total_bytes"] == memory["total_bytes"]
        assert model.info()["memory"]["parts"] == memory["parts"]


def test_memory_is_a_table_of_usual_contexts(artifact: Path):
    result = _inspect(artifact, "--memory")
    assert result.exit_code == 0
    for words in ("KV pages", "recurrent state", "1M", "128K"):
        assert words in result.stdout
    assert "1M" in _inspect(artifact, "--context", "1M").stdout


def test_kernels_tell_why(artifact: Path):
    result = _inspect(artifact, "--kernels")
    assert "tiny_hidden" in result.stdout
    assert "wide: 16 columns" in result.stdout
    (kernel,) = _document(artifact, "--kernels")["kernels"]
    assert kernel["calls"] == {"prefill": 1, "decode": 1, "logits": 0}


def test_the_graph_is_printed_as_it_is(artifact: Path):
    assert _inspect(artifact, "--ir").stdout == GRAPH
    assert _document(artifact, "--ir")["ir"] == GRAPH
    assert _inspect(artifact, "--generic").stdout == GENERIC


def test_the_definition_of_the_dialect_is_printed_for_a_release(artifact: Path):
    """LLVM 19 and before do not read the names of operands and parameters."""
    assert _inspect(artifact, "--irdl").stdout == DEFINITION
    older = _inspect(artifact, "--irdl", "--llvm", 19).stdout
    assert older == DEFINITION.replace("x: ", "").replace("y: ", "")


def test_an_artifact_without_the_generic_form_says_so(tmp_path: Path):
    result = _inspect(tiny.write_handmade(tmp_path / "older.sala"), "--generic")
    assert result.exit_code == 2
    assert "has no model.generic.mlir" in result.stderr


def test_verify_runs_the_golden_vectors(artifact: Path):
    result = _inspect(artifact, "--verify")
    assert result.exit_code == 0, result.stdout
    assert "every vector holds" in result.stdout
    verify = _document(artifact, "--verify")["verify"]
    assert verify["passed"]
    assert verify["logits_difference"] == 0.0
    assert {entry["kind"] for entry in verify["vectors"]} == {"model", "kernel"}


def test_a_vector_that_fails_is_exit_code_1(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = tiny.expected_logits
    monkeypatch.setattr(tiny, "expected_logits", lambda ids: expected(ids) + np.float32(1))
    wrong = tiny.write_handmade(tmp_path / "wrong.sala")
    result = _inspect(wrong, "--verify")
    assert result.exit_code == 1
    assert "NOT every vector holds" in result.stdout
    assert "FAILED" in result.stdout


def test_several_parts_at_once(artifact: Path):
    assert set(_document(artifact, "--memory", "--kernels", "--ir")) == {"memory", "kernels", "ir"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: shutil.rmtree(path), "no artifact here"),
        (lambda path: (path / "program.json").write_text("{}"), "program.json"),
        (lambda path: (path / "model.mlir").unlink(), "model.mlir"),
    ],
)
def test_damage_is_one_message_and_exit_code_2(artifact: Path, tmp_path: Path, damage, words: str):
    copy = tmp_path / "copy.sala"
    shutil.copytree(artifact, copy)
    damage(copy)
    result = _inspect(copy)
    assert result.exit_code == 2
    assert result.stderr.startswith("sala-inspect: ")
    assert words in result.stderr
    assert result.stdout == ""


def test_an_unknown_target_is_refused(artifact: Path):
    result = _inspect(artifact, "--memory", "--target", "cuda:sm_90")
    assert result.exit_code == 2
    assert "expected one of cpu" in result.stderr


def test_flipped_weights_are_found_by_verify(artifact: Path, tmp_path: Path):
    copy = tmp_path / "copy.sala"
    shutil.copytree(artifact, copy)
    weights = bytearray((copy / "weights-00001.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "weights-00001.safetensors").write_bytes(weights)
    result = _inspect(copy, "--verify")
    assert result.exit_code == 2
    assert "SHA-256" in result.stderr


def test_memory_tells_what_a_token_costs_and_what_fits(artifact: Path):
    options = (artifact, "--memory", "--context", "4K", "--batch", 2, "--threads", 1)
    memory = _document(*options)["memory"]
    assert memory["token_bytes"]["kv_pages"] == 16 * 4 / tiny.PAGE
    machine, *usual = memory["largest_context"]
    assert machine["memory_bytes"] == memory["machine_bytes"]
    assert [entry["memory_bytes"] >> 30 for entry in usual] == [8, 16, 24, 32, 80, 141]
    fitting = _document(artifact, "--context", usual[0]["context"], "--batch", 2, "--threads", 1)
    assert fitting["memory"]["total_bytes"] <= 8 << 30
    shown = _inspect(*options).stdout
    for words in ("one more token", "largest context, batch 2", "80.00 GiB", "this machine"):
        assert words in shown


def _is_title(element: ElementTree.Element) -> bool:
    return element.tag.endswith("}title")


def test_the_arena_is_drawn(artifact: Path, tmp_path: Path):
    path = tmp_path / "plan.svg"
    document = _document(artifact, "--plot", path, "--context", "1K")
    assert document["memory"]["plot"] == str(path)
    root = ElementTree.parse(path).getroot()
    spaces = {"svg": "http://www.w3.org/2000/svg"}
    assert root.tag == f"{{{spaces['svg']}}}svg"
    drawn = [
        group for group in root.iterfind(".//svg:g", spaces) if group[:1] and _is_title(group[0])
    ]
    titles = [group[0].text or "" for group in drawn]
    first_lines = {title.partition(",")[0] for title in titles}
    assert first_lines == {"hidden\nresidual stream", "logits\nlogits"}
    words = " ".join(text.text or "" for text in root.iterfind(".//svg:text", spaces))
    for word in ("prefill", "decode", "KiB", "The arena of tiny.sala", "residual stream"):
        assert word in words
    assert len(drawn) >= 2
    for group in drawn:
        (path,) = group.iterfind("svg:path", spaces)
        numbers = [float(word) for word in path.attrib["d"].split() if word not in ("M", "L", "z")]
        assert max(numbers[::2]) > min(numbers[::2]) >= 0
        assert max(numbers[1::2]) > min(numbers[1::2]) >= 0


def test_a_picture_is_the_same_bytes_again_and_of_the_kind_that_its_name_says(
    artifact: Path, tmp_path: Path
):
    starts = {
        "a.svg": b"<?xml",
        "b.svg": b"<?xml",
        "c.png": b"\x89PNG",
        "d.pdf": b"%PDF",
        "e": b"<?xml",
    }
    for name, start in starts.items():
        _document(artifact, "--plot", tmp_path / name, "--context", "1K")
        assert (tmp_path / name).read_bytes().startswith(start)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_without_matplotlib_the_extra_is_named_before_any_work(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = _inspect(artifact, "--plot", tmp_path / "plan.svg")
    assert result.exit_code == 2
    assert "pip install 'sala-compile[plot]'" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "plan.svg").exists()


def test_a_picture_that_cannot_be_written_is_one_message(artifact: Path, tmp_path: Path):
    result = _inspect(artifact, "--plot", tmp_path / "nowhere" / "plan.svg")
    assert result.exit_code == 2
    assert "the file cannot be written" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--batch", 10**9, "batch is 1000000000"),
        ("--context", 2**31, "context is 2147483648 tokens"),
        ("--context", "9" * 5000, "not a number of tokens"),
    ],
)
def test_a_size_that_cannot_be_blames_the_request(
    artifact: Path, option: str, value: object, told: str
):
    result = _inspect(artifact, "--memory", option, value)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "compile again" not in result.stderr
