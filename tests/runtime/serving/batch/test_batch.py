"""Files of requests: one line for each, failures as lines, and runs that go on where they ended."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.batch.__main__ import command
from sala_compile.runtime.serving.batch.batch_lines import BatchLine, check_ids
from sala_compile.runtime.serving.batch.batch_output import ABOUT, ANSWERS, ERRORS, BatchOutput
from tests.support.http_server import serving, write_talking

MODULE = "sala_compile.runtime.serving.batch"


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking(tmp_path_factory.mktemp("talking") / "talk.sala")


def request(number: int, **body: Any) -> dict[str, Any]:
    """A line that is well."""
    chosen = {"model": "talk", "prompt": f"prompt {'abcdefghij'[number % 10]}"}
    chosen |= {"max_tokens": 8, "temperature": 0, "seed": 1}
    line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/completions"}
    return line | {"body": chosen | body}


def _write(path: Path, lines: Sequence[object]) -> Path:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def _read(path: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines), "more than one line for a request"
    return found


def _arguments(source: Path, output: Path, model: Path) -> list[str]:
    given = {"input": source, "output": output, "model": model, "batch": 4, "threads": 1}
    given |= {"prefix-cache": "1MiB"}
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


def _run(source: Path, output: Path, model: Path) -> Any:
    return CliRunner().invoke(command, _arguments(source, output, model))


def test_each_request_has_one_answer_and_failures_have_lines(talking: Path, tmp_path: Path):
    chat = {"model": "talk", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    lines: list[object] = [request(number) for number in range(30)]
    lines += [
        {"custom_id": "chat", "method": "POST", "url": "/v1/chat/completions", "body": chat},
        request(31, model="another"),
        request(32, stream=True),
        request(33) | {"url": "/v1/embeddings"},
        request(34) | {"method": "GET"},
        request(35, prompt=None),
        {"method": "POST"},
        "not json",
        "",
    ]
    source = _write(tmp_path / "in.jsonl", lines)
    result = _run(source, tmp_path / "out", talking)
    assert result.exit_code == 0, result.output
    answers, errors = (_read(tmp_path / "out" / name) for name in (ANSWERS, ERRORS))
    assert set(answers) == {*(f"r{number}" for number in range(30)), "chat"}
    assert set(errors) == {"r31", "r32", "r33", "r34", "r35", "line-37", "line-38"}
    assert "38 of 38 requests done, 7 of them failed" in result.output
    with serving(talking, batch=4) as one:
        for number in (0, 7, 29):
            alone = one.post("/v1/completions", request(number)["body"]).json()
            found = answers[f"r{number}"]["response"]
            assert found["status_code"] == 200
            assert found["body"]["choices"] == alone["choices"]
            assert found["body"]["usage"]["completion_tokens"] > 0
        refused = one.post("/v1/completions", request(31, model="another")["body"])
    assert errors["r31"]["response"]["status_code"] == refused.status_code == 404
    assert errors["r31"]["response"]["body"] == refused.json()
    assert errors["r32"]["error"] == {
        "code": "invalid_line",
        "message": "stream is not for batches",
    }
    assert errors["line-38"]["response"] is None


def test_a_run_that_was_killed_goes_on(talking: Path, tmp_path: Path):
    lines = [request(n, max_tokens=2000, ignore_eos=True) for n in range(40)]
    source, output = _write(tmp_path / "in.jsonl", lines), tmp_path / "out"
    arguments = [sys.executable, "-m", MODULE, *_arguments(source, output, talking)]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    answers = output / ANSWERS
    end = time.monotonic() + 120
    while not answers.exists() or answers.stat().st_size < 3000:
        assert time.monotonic() < end
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with answers.open("ab") as file:
        file.write(b'{"custom_id": "r3')  # the line that was being written
    before = answers.read_text().splitlines()[:-1]
    assert 0 < len(before) < 40
    result = _run(source, output, talking)
    assert result.exit_code == 0, result.output
    assert answers.read_text().splitlines()[: len(before)] == before, "nothing is answered again"
    assert set(_read(answers)) == {f"r{n}" for n in range(40)}
    again = _run(source, output, talking)
    assert "40 of 40 requests done, 0 of them failed" in again.output


def test_the_directory_of_another_batch_is_refused(talking: Path, tmp_path: Path):
    output = tmp_path / "out"
    assert _run(_write(tmp_path / "a", [request(1)]), output, talking).exit_code == 0
    kept = (output / ANSWERS).read_bytes()
    for source in (_write(tmp_path / "b", [request(2)]), tmp_path / "missing"):
        result = _run(source, output, talking)
        assert result.exit_code == 2
    assert (
        "answers of another batch: requests differ" in _run(tmp_path / "b", output, talking).output
    )
    assert (output / ANSWERS).read_bytes() == kept
    (output / ABOUT).write_text("{")
    assert _run(tmp_path / "a", output, talking).exit_code == 2


def test_two_requests_of_one_id_are_refused_before_anything_is_loaded(tmp_path: Path):
    source = _write(tmp_path / "in", [request(1), request(2), request(1)])
    with pytest.raises(RequestError, match="lines 1 and 3 have the same custom_id 'r1'"):
        check_ids(source)
    result = _run(source, tmp_path / "out", tmp_path / "no.sala")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_two_runs_do_not_write_to_one_directory(tmp_path: Path):
    about = {"requests": "a", "model": "b"}
    first = BatchOutput(tmp_path, about)
    with pytest.raises(RequestError, match="another run writes"):
        BatchOutput(tmp_path, about)
    line = BatchLine(1, "x").answered(200, {"id": "cmpl-1"})
    assert first.write(line)
    assert not first.write(line), "an answer that comes twice is written once"
    first.close()
    second = BatchOutput(tmp_path, about)
    assert second.done == {"x"}
    second.close()
    assert len(_read(tmp_path / ANSWERS)) == 1


def test_lines_that_are_no_text_are_refused(tmp_path: Path):
    path = tmp_path / "in"
    path.write_bytes(b'{"custom_id": "\xff"}\n')
    with pytest.raises(RequestError, match="line 1 is not UTF-8"):
        check_ids(path)
