"""State files: what is saved continues to the bit anywhere; what is wrong is refused by name."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.runtime.cli import run
from sala_compile.runtime.errors import MemoryBudgetError, RequestError, StateFileError
from sala_compile.runtime.model import Model
from sala_compile.runtime.state.state_file import VERSION
from tests.support.sequences import assert_unused, text, used

LENGTHS = (1, 2, 7, 15, 16, 17, 63, 64, 65, 200, 1023, 1024, 1025, 1060)
CONTEXT = 1152


def _load(path: Path) -> Model:
    return sala_compile.load(path, context=CONTEXT, batch=2, poison=True)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request: pytest.FixtureRequest, compiled):
    with _load(compiled(request.param)) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def float32(compiled):
    with _load(compiled("float32")) as loaded:
        yield loaded


@pytest.fixture
def saved(float32: Model, tmp_path: Path) -> Path:
    """The state of 100 tokens."""
    path = tmp_path / "text.sala-state"
    with float32.sequence() as sequence:
        sequence.append(text(float32, 100))
        sequence.save(path)
    return path


@pytest.mark.parametrize("length", LENGTHS)
def test_a_restored_state_continues_to_the_bit(model: Model, tmp_path: Path, length: int):
    ids, more = text(model, length), text(model, 60, seed=1)
    with model.sequence() as one:
        logits = one.append(ids)
        one.save(tmp_path / "x.sala-state")
        with model.restore(tmp_path / "x.sala-state") as two:
            assert two.token_ids == ids.tolist()
            assert two.state.spans == one.state.spans
            np.testing.assert_array_equal(two.last_logits, logits)
            for piece in np.split(more, [1, 2, 3, 20]):
                np.testing.assert_array_equal(two.append(piece), one.append(piece))
    assert_unused(model)


def test_saving_twice_gives_the_same_bytes(float32: Model, saved: Path, tmp_path: Path):
    with float32.restore(saved) as sequence:
        sequence.save(tmp_path / "again.sala-state")
    assert (tmp_path / "again.sala-state").read_bytes() == saved.read_bytes()


def test_another_instruction_set_continues(compiled, float32: Model, saved: Path, tmp_path: Path):
    ids, more = text(float32, 100), text(float32, 30, seed=1)
    with _load(compiled("portable")) as portable, portable.restore(saved) as sequence:
        sequence.save(tmp_path / "copy.sala-state")
        assert (tmp_path / "copy.sala-state").read_bytes() == saved.read_bytes()
        found = sequence.append(more)
        sequence.save(tmp_path / "longer.sala-state")
    wanted = float32.logits(np.concatenate([ids, more]))[-1]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    with float32.restore(tmp_path / "longer.sala-state") as sequence:
        assert len(sequence) == 130


CONTINUE = """
import sys, numpy as np, sala_compile
model = sala_compile.load(sys.argv[1], context=256)
sequence = model.restore(sys.argv[2])
np.save(sys.argv[3], [sequence.last_logits, sequence.append([5]), sequence.append([6, 7, 8])])
"""


def test_another_process_continues_to_the_bit(compiled, saved: Path, tmp_path: Path):
    with _load(compiled("float32")) as model, model.sequence() as sequence:
        wanted = [sequence.append(text(model, 100))]
        wanted += [sequence.append([5]), sequence.append([6, 7, 8])]
    arguments = [str(compiled("float32")), str(saved), str(tmp_path / "found.npy")]
    subprocess.run([sys.executable, "-c", CONTINUE, *arguments], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), wanted)


def test_the_content_is_canonical(model: Model, tmp_path: Path):
    """Keys and values [tokens, kv heads, head_dim] in the order of the tokens, no padding."""
    path = tmp_path / "x.sala-state"
    with model.sequence() as sequence:
        sequence.append(text(model, 37))
        sequence.save(path)
        pages, pool = sequence.state.pages["kv"], model.memory.arrays["layers.0.kv_cache.v"]
        pack = pool.shape[-1]
        value = pool[pages[36 // 16], :, 36 % 16 // pack, :14, 36 % pack].copy()
    header = _header(path)
    section = next(s for s in header["sections"] if s["name"] == "layers.0.values")
    assert section["shape"] == [37, 3, 14]
    dtype = {"float32": np.float32, "bfloat16": np.uint16}[section["dtype"]]
    data = path.read_bytes()[section["offset"] :][: section["nbytes"]]
    np.testing.assert_array_equal(np.frombuffer(data, dtype).reshape(37, 3, 14)[36], value)
    shapes = {s["name"]: s["shape"] for s in header["sections"]}
    assert shapes["layers.0.fine"] == [8, 3, 14]
    assert shapes["layers.0.coarse"] == [1, 3, 14]
    assert shapes["layers.1.recurrent_state"] == [6, 14, 14]
    assert section["offset"] % 64 == 0
    assert path.stat().st_size < 37 * 3 * 14 * 4 * 4 + 6 * 14 * 14 * 4 + 20_000


def _header(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[48 : 48 + int.from_bytes(data[12:16], "little")])


def _refuses(model: Model, path: Path, message: str) -> None:
    before = used(model)
    with pytest.raises(StateFileError, match=message) as caught:
        model.restore(path)
    assert str(path) in str(caught.value)
    assert used(model) == before


def test_every_section_is_guarded(float32: Model, saved: Path):
    whole = saved.read_bytes()
    sections = _header(saved)["sections"]
    assert len(sections) == 2 + 2 * 4 + 1
    for section in sections:
        damaged = bytearray(whole)
        damaged[section["offset"] + section["nbytes"] // 2] ^= 1
        saved.write_bytes(damaged)
        _refuses(float32, saved, f"damaged: the checksum of {section['name']}")
    damaged = bytearray(whole)
    damaged[200] ^= 1
    saved.write_bytes(damaged)
    _refuses(float32, saved, "damaged: the header's checksum")
    saved.write_bytes(whole + b"\0")
    _refuses(float32, saved, "damaged")


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.3, 0.9999])
def test_a_truncated_file_is_refused(float32: Model, saved: Path, share: float):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: max(8, int(len(whole) * share))])
    _refuses(float32, saved, "truncated")


@pytest.mark.parametrize(("version", "age"), [(VERSION - 1, "older"), (VERSION + 1, "newer")])
def test_another_version_is_refused_with_both(float32: Model, saved: Path, version: int, age: str):
    whole = bytearray(saved.read_bytes())
    whole[8] = version
    saved.write_bytes(whole)
    _refuses(float32, saved, f"{age} version {version}")
    _refuses(float32, saved, f"expected version {VERSION}")


def test_what_is_no_state_file_is_refused_and_never_replaced(float32: Model, tmp_path: Path):
    for content in (b"", b"some text", b"x" * 1000):
        (tmp_path / "text").write_bytes(content)
        _refuses(float32, tmp_path / "text", "no state file")
    _refuses(float32, tmp_path / "nowhere", "cannot be read")
    _refuses(float32, tmp_path, "cannot be read")
    with float32.sequence() as sequence:
        sequence.append([1])
        for path in (tmp_path / "text", tmp_path):
            with pytest.raises(StateFileError, match="is not a state file"):
                sequence.save(path)
        with pytest.raises(StateFileError, match="cannot be written"):
            sequence.save(tmp_path / "no" / "folder")
    assert (tmp_path / "text").read_bytes() == b"x" * 1000
    assert os.listdir(tmp_path) == ["text"]


def test_another_model_is_refused(compiled, saved: Path, handmade: Path):
    with _load(compiled("bfloat16")) as other:
        _refuses(other, saved, "belongs to another model")
    with sala_compile.load(handmade) as other:
        _refuses(other, saved, "belongs to another model")


def test_a_state_that_does_not_fit_is_refused(compiled, saved: Path):
    with sala_compile.load(compiled("float32"), context=64) as model:
        with pytest.raises(RequestError, match="does not fit") as caught:
            model.restore(saved)
        assert "context=100" in str(caught.value)
    with sala_compile.load(compiled("float32"), context=112, sequences=2) as model:
        with model.sequence() as other:
            other.append([1])
            with pytest.raises(MemoryBudgetError, match="KV pages"):
                model.restore(saved)
        assert_unused(model)


def test_an_empty_sequence_cannot_be_saved(float32: Model, tmp_path: Path):
    with float32.sequence() as sequence, pytest.raises(RequestError, match="an empty sequence"):
        sequence.save(tmp_path / "x")


def test_a_failing_write_leaves_the_old_file(
    float32: Model, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    before = saved.read_bytes()
    for name, error in (("fsync", OSError(28, "No space left")), ("fsync", KeyboardInterrupt())):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        with float32.restore(saved) as sequence, monkeypatch.context() as patch:
            sequence.append([1])
            patch.setattr(os, name, fail)
            with pytest.raises((StateFileError, KeyboardInterrupt)):
                sequence.save(saved)
        assert saved.read_bytes() == before
        assert os.listdir(saved.parent) == [saved.name]


def _save_for_ever(artifact: Path, path: Path) -> None:
    with sala_compile.load(artifact, context=1152) as model, model.restore(path) as sequence:
        while True:
            sequence.append([1] * (2 if sequence.remaining > 2 else 1))
            sequence.save(path)


def test_a_killed_process_leaves_a_whole_file(compiled, float32: Model, saved: Path):
    lengths: set[int] = set()
    for wait in (0.0, 0.013, 0.031):
        process = multiprocessing.get_context("spawn").Process(
            target=_save_for_ever, args=(compiled("float32"), saved)
        )
        began, size = time.monotonic(), saved.stat().st_mtime_ns
        process.start()
        while saved.stat().st_mtime_ns == size and time.monotonic() < began + 60:
            time.sleep(0.005)
        time.sleep(wait)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with float32.restore(saved) as sequence:
            assert sequence.token_ids[:100] == text(float32, 100).tolist()
            lengths.add(len(sequence))
    assert min(lengths) > 100


def _command(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(
        run.command, [str(argument) for argument in arguments], prog_name="sala-run"
    )
    return result.exit_code, result.stdout, result.stderr


def test_sala_run_reads_once_and_answers_again_and_again(compiled: Callable, tmp_path: Path):
    artifact, state = compiled("float32"), tmp_path / "book.sala-state"
    book = ",".join(str(token) for token in np.arange(90) % 100)
    code, answer, notes = _command(artifact, "--ids", book, "--save-state", state)
    assert (code, answer) == (0, "")
    assert "state of 90 tokens" in notes
    options = ("--max-tokens", 5, "--ignore-eos")
    _, whole, _ = _command(artifact, "--ids", f"{book},7,8", *options)
    for _ in range(2):
        code, found, _ = _command(artifact, "--state", state, "--ids", "7 8", *options)
        assert (code, found) == (0, whole)
    _, whole, _ = _command(artifact, "--ids", book, *options)
    code, found, _ = _command(artifact, "--state", state, *options)
    assert (code, found) == (0, whole)


def test_sala_run_extends_a_state_and_tells_it_as_json(compiled: Callable, tmp_path: Path):
    artifact, first, second = compiled("float32"), tmp_path / "one", tmp_path / "two"
    _command(artifact, "--ids", "1 2 3", "--save-state", first)
    code, answer, notes = _command(
        artifact, "--state", first, "--ids", "4 5", "--save-state", second, "--json"
    )
    assert (code, notes) == (0, "")
    document = json.loads(answer)
    assert (document["tokens"], document["prompt_tokens"]) == (5, 2)
    assert document["state_bytes"] == second.stat().st_size
    with sala_compile.load(artifact) as model, model.restore(second) as sequence:
        assert sequence.token_ids == [1, 2, 3, 4, 5]


def test_sala_run_refuses_a_damaged_state(compiled: Callable, tmp_path: Path):
    (tmp_path / "state").write_bytes(b"SALASTATx")
    code, _, notes = _command(compiled("float32"), "--state", tmp_path / "state", "--ids", "1")
    assert code == 2
    assert "truncated" in notes
    code, _, notes = _command(compiled("float32"), "--chat", "--state", tmp_path / "state")
    assert code == 2
    assert "does not hold a conversation" in notes


def test_the_place_of_a_state_is_checked_before_anything_is_loaded(tmp_path: Path):
    (tmp_path / "diary").write_text("dear diary")
    os.mkfifo(tmp_path / "pipe")
    for name, found in (
        ("diary", "is not a state file"),
        ("pipe", "is not a state file but a pipe"),
        ("nowhere/x", "there is no directory"),
        (".", "is not a state file but a directory"),
    ):
        code, answer, notes = _command(
            tmp_path / "absent.sala", "--ids", "1", "--save-state", tmp_path / name
        )
        assert (code, answer) == (2, "")
        assert found in notes
    assert (tmp_path / "diary").read_text() == "dear diary"


def test_a_state_is_not_read_from_a_pipe(compiled: Callable, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    code, _, notes = _command(compiled("float32"), "--state", tmp_path / "pipe", "--ids", "1")
    assert code == 2
    assert "it is a pipe" in notes
    assert "a state is not read from a pipe" in notes


def test_a_state_that_will_not_fit_the_disk_is_told_before_the_text_is_read(
    float32: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)
    with float32.sequence() as sequence:
        sequence.check_save(tmp_path / "a", 100)
        sequence.append([1, 2, 3])
        sequence.save(tmp_path / "b")
        size = (tmp_path / "b").stat().st_size
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))
        sequence.check_save(tmp_path / "a")
        with pytest.raises(StateFileError, match="are free"):
            sequence.check_save(tmp_path / "a", 100)
    assert sorted(os.listdir(tmp_path)) == ["b"]
