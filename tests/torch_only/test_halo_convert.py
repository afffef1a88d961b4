"""Conversions from end to end: what they write, that they resume, and what they refuse."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import sala_compile
from examples.halo.__main__ import main
from examples.halo.options import Precision, Score
from examples.halo.pipeline import convert
from examples.halo.student_config import StudentFamily
from examples.halo.training.stage_training import OutOfTime
from examples.torch.sala_module import SalaModule
from sala_compile.runtime.errors import RequestError
from tests.support.compiled import GOLDEN, compile_checkpoint
from tests.support.halo_work import TEACHER, silent, small_options, write_tokens

torch.set_num_threads(1)
CASES = {
    "hypenet": {"student": StudentFamily.HYPENET},
    "minicpm_sala": {"student": StudentFamily.MINICPM_SALA, "score": Score.DIVERGENCE},
    "of qwen3": {"teacher": GOLDEN / "qwen3-a", "layers": (2, 0)},
    "of minicpm": {
        **{"teacher": GOLDEN / "minicpm-a", "student": StudentFamily.MINICPM_SALA},
        "rates": (3e-4, 1e-3, 1e-4),  # few steps from an order of heads that is near already
    },
}


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_a_conversion_ends_with_a_directory_that_compiles(tmp_path: Path, name: str):
    options = small_options(tmp_path, **CASES[name])
    student = convert(options, silent)
    stages = sorted(path.parent.name for path in options.work.glob("*/evaluation.json"))
    assert [stage[0] for stage in stages] == ["0", "1", "2", "3", "4"]
    found = [_read(options.work / stage / "evaluation.json") for stage in stages]
    assert found[3]["divergence"] < found[2]["divergence"]
    assert np.median(found[1]["layer_errors"]) < np.median(found[0]["layer_errors"])
    config = _read(student / "config.json")
    kept = [n for n, x in enumerate(config["mixer_types"]) if x != "lightning-attn"]
    assert kept == _read(options.work / "2-selection" / "choice.json")["layers"]
    if options.layers is not None:
        assert kept == [0, 2]
    artifact = tmp_path / "student.sala"
    compile_checkpoint(student, artifact)
    ids = np.random.default_rng(1).integers(0, 90, 100)
    with torch.no_grad():
        expected = SalaModule.from_checkpoint(student)(torch.from_numpy(ids)[None])[0]
    with sala_compile.load(artifact) as model:
        np.testing.assert_allclose(model.logits(ids), expected.numpy(), atol=2e-3)


@pytest.mark.parametrize("precision", [Precision.MIXED, Precision.BFLOAT16])
def test_half_precision_learns_and_resumes_to_the_bit(tmp_path: Path, precision: Precision):
    """Rounding by chance follows from seed and step, so that it does not differ after a stop."""
    data = (write_tokens(tmp_path),)
    chosen = {"data": data, "precision": precision, "layers": (1,), "tokens": 2048}
    whole = small_options(tmp_path / "a", **chosen)
    students = [convert(whole, silent)]
    parts = small_options(tmp_path / "b", **chosen, minutes=0.0)
    while len(students) < 2:
        with contextlib.suppress(OutOfTime):
            students.append(convert(parts, silent))
    weights = [(student / "model.safetensors").read_bytes() for student in students]
    assert weights[0] == weights[1]
    stages = ("2-selection", "3-distillation")
    before, after = (_read(whole.work / stage / "evaluation.json") for stage in stages)
    assert after["divergence"] < before["divergence"]
    state = torch.load(whole.work / "3-distillation" / "state.pt", weights_only=True)
    kinds = {x.dtype for x in state["parameters"].values()}
    kinds |= {x.dtype for pair in state["optimiser"]["moments"].values() for x in pair}
    is_half = precision is Precision.BFLOAT16
    assert kinds == {torch.bfloat16 if is_half else torch.float32}


def _command(work: Path, data: Path) -> list[str]:
    sizes = "--tokens 4096 --length 48 --long-length 96 --batch 2 --parts 2 --threads 1"
    saving = "--save-seconds 0 --precision float32 --student hypenet"
    paths = ["--teacher", str(TEACHER), "--work", str(work), "--data", str(data)]
    return ["convert", *paths, *sizes.split(), *saving.split()]


def test_a_killed_process_continues_to_the_same_weights(tmp_path: Path):
    """Killed in the middle of two stages; the student's files are equal to the byte."""
    data = write_tokens(tmp_path)
    main(_command(tmp_path / "whole", data))
    work = tmp_path / "parts"
    for stage in ("1-alignment", "3-distillation"):
        command = [sys.executable, "-m", "examples.halo", *_command(work, data)]
        root = Path(__file__).parents[2]
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
        curve = work / stage / "curve.jsonl"
        while process.poll() is None and not curve.exists():
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (work / stage / "evaluation.json").exists()
    main(_command(work, data))
    for name in ("config.json", "model.safetensors"):
        parts, whole = (tmp_path / each / "student" / name for each in ("parts", "whole"))
        assert parts.read_bytes() == whole.read_bytes()


def test_pieces_of_no_time_end_with_the_same_weights(tmp_path: Path):
    data = (write_tokens(tmp_path),)
    whole = convert(small_options(tmp_path / "a", data=data), silent)
    options = small_options(tmp_path / "b", data=data, minutes=0.0)
    pieces = 0
    while True:
        try:
            parts = convert(options, silent)
            break
        except OutOfTime:
            pieces += 1
    assert pieces > 18, "training and selection stop where they are"
    weights = [(each / "model.safetensors").read_bytes() for each in (whole, parts)]
    assert weights[0] == weights[1]


def test_other_options_do_not_continue_a_conversion(tmp_path: Path):
    options = small_options(tmp_path, minutes=0.0)
    with pytest.raises(OutOfTime):
        convert(options, silent)
    with pytest.raises(RequestError, match="begun with seed 0"):
        convert(small_options(tmp_path, minutes=0.0, seed=1), silent)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": (3,)}, "there is no layer 3"),
        ({"keep_ratio": 0.0}, "keep_ratio is 0.0"),
        ({"long_length": 8}, "long_length is 8"),
        ({"tokens": 0}, "tokens is 0"),
        ({"split": (0.0, 0.0, 0.0)}, "split is"),
        ({"teacher": GOLDEN / "hypenet-a"}, "family hypenet is not converted"),
        ({"teacher": GOLDEN / "minicpm-a"}, "hypenet has no place for what minicpm has"),
        (
            {"teacher": GOLDEN / "qwen3-a", "student": StudentFamily.MINICPM_SALA},
            "minicpm_sala has no place for what qwen3 has",
        ),
        ({"length": 30_000, "long_length": 30_000}, "no source has 30000 tokens in a row"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, fields: dict, message: str):
    with pytest.raises(RequestError, match=message):
        convert(small_options(tmp_path, **fields), silent)


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        (np.array([1.5]), "tokens.npy"),
        (np.array([1, 10**6]), "tokens.npy"),
        (np.array([-1, 3]), "tokens.npy"),
        (np.zeros((2, 2, 2), np.int32), "tokens.npy"),
        (np.zeros(0, np.int32), "tokens.npy"),
    ],
)
def test_files_without_token_ids_are_refused(tmp_path: Path, ids: np.ndarray, name: str):
    np.save(tmp_path / name, ids)
    with pytest.raises(RequestError, match="no token ids of the teacher"):
        convert(small_options(tmp_path, data=(tmp_path / name,)), silent)


def test_the_command_line_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(_command(tmp_path, tmp_path / "absent.npy"))
    assert stopped.value.code == 2
    assert "absent.npy" in capsys.readouterr().err
