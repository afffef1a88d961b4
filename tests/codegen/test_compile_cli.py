"""The command sala-compile: options, summaries, mistakes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from sala_compile.codegen.cli.compile import command
from sala_compile.sala_ir.context import parse_module
from tests.codegen.conftest import SMALL
from tests.support.checkpoints import write_checkpoint


def run(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of its own, float32 so that NumPy can rewrite it."""
    return write_checkpoint(tmp_path / "checkpoint", SMALL, element="F32")


def test_a_dry_run_plans_and_writes_nothing(checkpoint, tmp_path):
    result = run(checkpoint, "-o", tmp_path / "x.sala", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    memory = document["memory"]
    assert memory["total_bytes"] == sum(memory["parts"].values())
    assert memory["parts"]["weights"] > 0
    assert [entry["name"] for entry in document["passes"]][-1] == "plan-intervals"
    assert {entry["family"] for entry in document["kernels"]["cpu"]} >= {"linear", "attend_blocks"}
    assert "artifact" not in document
    assert not (tmp_path / "x.sala").exists()


def test_a_config_alone_can_be_planned(tmp_path):
    released = Path(__file__).parent.parent / "golden" / "data" / "sala-tiny-a" / "config.json"
    result = run("--config", released, "--dry-run", "--context", "1M", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["memory"]["context"] == 1 << 20


def test_stop_after_prints_the_module(checkpoint):
    result = run(checkpoint, "--stop-after", "merge-projections")
    assert result.exit_code == 0, result.output
    assert "sala.concat_weights" in result.stdout
    assert "sala.kernel_call" not in result.stdout
    parse_module(result.stdout)


def test_dump_ir_writes_a_numbered_file_for_each_pass(checkpoint, tmp_path):
    result = run(checkpoint, "--dry-run", "--dump-ir", tmp_path / "ir")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "ir").iterdir())
    assert names[0] == "000_captured.mlir"
    assert names[-1].endswith("_plan-intervals.mlir")
    assert len(names) == int(names[-1][:3]) + 1


def test_a_summary_for_people(checkpoint):
    result = run(checkpoint, "--dry-run")
    for word in ("minicpm_sala", "merge-projections", "lightning_attention", "memory"):
        assert word in result.stdout


def test_one_json_document_of_a_whole_compilation(checkpoint, tmp_path):
    result = run(checkpoint, "-o", tmp_path / "x.sala", "--json", "--context", "2K")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["artifact"]["path"] == str(tmp_path / "x.sala")
    assert document["artifact"]["bytes"] > document["memory"]["parts"]["weights"]
    assert document["seconds"] > 0


def drop_tensor(checkpoint: Path) -> None:
    rewrite(checkpoint, lambda tensors: tensors.pop("model.norm.weight"))


def add_tensor(checkpoint: Path) -> None:
    def change(tensors):
        tensors["model.layers.0.self_attn.extra.weight"] = tensors["model.norm.weight"]

    rewrite(checkpoint, change)


def reshape_tensor(checkpoint: Path) -> None:
    def change(tensors):
        tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1].copy()

    rewrite(checkpoint, change)


def rewrite(checkpoint: Path, change) -> None:
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def truncate(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def set_field(**fields):
    def change(checkpoint: Path) -> None:
        path = checkpoint / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def write(name: str, text: str):
    return lambda checkpoint: (checkpoint / name).write_text(text)


def remove(name: str):
    return lambda checkpoint: (checkpoint / name).unlink()


MISTAKES = {
    "a missing tensor": (drop_tensor, "model.norm.weight"),
    "an extra tensor": (add_tensor, "extra.weight"),
    "a wrong shape": (reshape_tensor, "model.norm.weight"),
    "a truncated file": (truncate, "model.safetensors"),
    "no weights": (remove("model.safetensors"), "model.safetensors"),
    "no config": (remove("config.json"), "config.json"),
    "an unknown mixer": (set_field(mixer_types=["minicpm4", "mamba"]), "mixer_types[1]"),
    "another model": (set_field(model_type="mamba2"), "model_type"),
    "an unsupported value": (set_field(hidden_act="gelu"), "hidden_act"),
    "a broken tokenizer": (write("tokenizer.json", '{"version": "1.0"'), "tokenizer.json"),
    "another file as tokenizer": (write("tokenizer.json", '{"model": {}}'), "tokenizer.json"),
    "a word as end": (
        write("generation_config.json", '{"eos_token_id": ["</s>"]}'),
        "generation_config.json: eos_token_id",
    ),
    "a scaled rotation": (set_field(rope_scaling={"rope_type": "yarn"}), "rope_scaling"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_bad_checkpoint_is_one_error_and_keeps_the_earlier_artifact(
    checkpoint, tmp_path, mistake
):
    spoil, named = MISTAKES[mistake]
    spoil(checkpoint)
    output = tmp_path / "x.sala"
    output.mkdir()
    (output / "manifest.json").write_text("the earlier one")
    result = run(checkpoint, "-o", output)
    assert result.exit_code == 2
    assert result.stderr.startswith("sala-compile: ")
    assert named in result.stderr
    assert "Traceback" not in result.output
    assert [path.name for path in output.iterdir()] == ["manifest.json"]
    assert (output / "manifest.json").read_text() == "the earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "x.sala"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "no checkpoint"),
        (("nowhere", "-o", "x.sala"), "nowhere"),
        (("CHECKPOINT",), "-o NAME.sala"),
        (("CHECKPOINT", "-o", "x.sala", "--target", "tpu"), "tpu"),
        (("CHECKPOINT", "-o", "x.sala", "--target", "cpu:pentium9"), "pentium9"),
        (("CHECKPOINT", "--stop-after", "no-such-pass"), "no-such-pass"),
        (("CHECKPOINT", "-o", "x.sala", "--context", "256", "--chunk", "512"), "--chunk 512"),
        (("CHECKPOINT", "-o", "x.sala", "--context", "many"), "many"),
        (("CHECKPOINT", "-o", "x.sala", "--context", "2147483648"), "at most 2147483647"),
        (("CHECKPOINT", "-o", "x.sala", "--context", "9" * 5000), "not a number of tokens"),
        (("CHECKPOINT", "-o", "x.sala", "--calibration", "."), "--calibration"),
        (("CHECKPOINT", "--config", "c.json", "--dry-run"), "--config"),
        (("--config", "c.json"), "--dry-run"),
        (("CHECKPOINT", "-o", "x.sala", "--dtype", "int4"), "int4"),
    ],
)
def test_a_wrong_request_is_one_error(checkpoint, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    result = run(*(checkpoint if a == "CHECKPOINT" else a for a in arguments))
    assert result.exit_code == 2
    assert named in result.stderr
    assert not (tmp_path / "x.sala").exists()


def test_a_dump_that_cannot_be_written_is_one_error(checkpoint, tmp_path):
    (tmp_path / "ir").write_text("a file")
    result = run(checkpoint, "--dry-run", "--dump-ir", tmp_path / "ir")
    assert result.exit_code == 2
    assert str(tmp_path / "ir") in result.stderr
    assert (tmp_path / "ir").read_text() == "a file"


def test_a_full_temporary_directory_is_one_error(checkpoint, tmp_path, monkeypatch):
    """LLVM would end the process, and the half-written artifact would stay."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    result = run(checkpoint, "-o", tmp_path / "x.sala")
    assert result.exit_code == 2
    assert "No space left" in result.stderr
    assert "TMPDIR" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_terminated_compilation_leaves_nothing(checkpoint, tmp_path):
    script = "from sala_compile.codegen.cli import sala_compile; sala_compile()"
    output = tmp_path / "x.sala"
    process = subprocess.Popen([sys.executable, "-c", script, checkpoint, "-o", output])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".x.sala.*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=120) == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_an_output_that_is_something_else_is_left_alone(checkpoint, tmp_path):
    (tmp_path / "x.sala").mkdir()
    (tmp_path / "x.sala" / "letter.txt").write_text("dear")
    result = run(checkpoint, "-o", tmp_path / "x.sala")
    assert result.exit_code == 2
    assert "not an artifact" in result.stderr
    assert (tmp_path / "x.sala" / "letter.txt").read_text() == "dear"


def test_a_missing_linker_is_found_before_any_work(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-linker")
    shutil.rmtree(checkpoint)
    result = run(checkpoint, "-o", tmp_path / "x.sala")
    assert result.exit_code == 2
    assert "no-such-linker" in result.stderr
    assert run("--config", "nowhere.json", "--dry-run").exit_code == 2
