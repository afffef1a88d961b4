"""sala-serve as a process: what it shows, what it refuses, how it ends."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.runtime.cli import serve
from sala_compile.runtime.errors import RequestError
from tests.support.handmade import write_handmade
from tests.support.http_server import events, write_talking
from tests.support.serve_command import started

PROGRAM = "from sala_compile.runtime.cli import sala_serve; sala_serve()"


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking(tmp_path_factory.mktemp("serve") / "talking.sala", context=1 << 16)


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *map(str, arguments)]


def _process(
    path: Path, *arguments: object
) -> AbstractContextManager[tuple[subprocess.Popen[str], str, str]]:
    return started(_command(path, "--port", 0, *arguments))


def test_a_run_from_the_screen_to_the_end(talking: Path, tmp_path: Path):
    """A running stream ends whole after SIGTERM, new requests are refused, the exit code is 0."""
    keys = tmp_path / "keys"
    keys.write_text("the-key\n")
    options = ("--api-key-file", keys, "--model-name", "tiny/one", "--threads", 1)
    with _process(talking, *options) as (process, url, shown):
        for word in ("tiny/one", "KV pages", "8 of 4K", "64K tokens", "1 of", "256 may wait"):
            assert word in shown
        headers = {"authorization": "Bearer the-key"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            assert client.get("/v1/models").json()["data"][0]["id"] == "tiny/one"
            assert client.get("/v1/models/tiny/one").status_code == 200
            body = {"prompt": "hello", "max_tokens": 2000, "ignore_eos": True, "stream": True}
            with client.stream("POST", "/v1/completions", json=body) as response:
                lines = response.iter_lines()
                first = next(lines)
                process.send_signal(signal.SIGTERM)
                found = events("\n".join([first, *lines]))
        assert found[-1] == "[DONE]"
        chunks = [json.loads(each)["choices"][0] for each in found[:-1]]
        assert sum(len(each["text"]) for each in chunks) == 2000
        assert chunks[-1]["finish_reason"] == "length"
        assert process.wait(30) == 0
        assert process.stderr is not None
        log = process.stderr.read()
        assert "POST /v1/completions 200" in log
        assert "hello" not in log
        assert "Traceback" not in log


def test_after_the_grace_time_what_runs_is_cut_off(talking: Path):
    with _process(talking, "--grace", 0.2, "--threads", 1) as (process, url, _):
        body = {"prompt": "hello", "max_tokens": 60_000, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as response:
            lines = response.iter_lines()
            first = next(lines)
            process.send_signal(signal.SIGINT)
            found = events("\n".join([first, *lines]))
        assert json.loads(found[-1])["error"]["code"] == "shutdown"
        assert process.wait(30) == 0


def test_prompts_are_logged_on_request(talking: Path):
    with _process(talking, "--log-prompts", "--threads", 1) as (process, url, _):
        httpx.post(f"{url}/v1/completions", json={"prompt": "hello", "max_tokens": 1})
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "hello" in process.stderr.read()


def _refused(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """The message of a run that is refused before a model is loaded."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(sala_compile, "load", load)
    result = CliRunner().invoke(serve.command, [str(each) for each in arguments])
    assert result.exit_code == 2, result.output
    return result.stderr


def test_a_port_that_is_taken_is_refused(talking: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        message = _refused(monkeypatch, talking, "--port", taken.getsockname()[1])
    assert "cannot be opened" in message


def test_an_address_of_another_machine_is_refused(talking: Path, monkeypatch: pytest.MonkeyPatch):
    assert "cannot be opened" in _refused(monkeypatch, talking, "--host", "192.0.2.1", "--port", 0)
    message = _refused(monkeypatch, talking, "--host", "no.such.name.invalid")
    assert "no.such.name.invalid" in message


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_handmade(tmp_path / "silent.sala")
    assert "tokenizer" in _refused(monkeypatch, path)


def test_a_key_file_that_is_missing_is_refused(talking: Path, monkeypatch: pytest.MonkeyPatch):
    assert "key file" in _refused(monkeypatch, talking, "--api-key-file", "/no/such/file")


def test_what_does_not_fit_is_refused(talking: Path):
    arguments = [str(talking), "--port", "0", "--memory", "1MiB", "--context", "1M"]
    arguments += ["--no-prefix-cache"]
    result = CliRunner().invoke(serve.command, arguments)
    assert result.exit_code == 2
    assert "needs" in result.stderr
    assert "would fit" in result.stderr or "give more memory" in result.stderr


@pytest.mark.parametrize(
    ("given", "capacity"),
    [
        ((), None),
        (("--memory", "1GiB"), "memory"),
        (("--memory", "1GiB", "--capacity", "8K"), 8192),
    ],
)
def test_requests_share_what_fits_in_the_memory(
    talking: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], capacity: object
):
    asked: dict[str, object] = {}

    def load(path: Path, **options: object) -> None:
        asked.update(options)
        raise RequestError("this is enough")

    monkeypatch.setattr(sala_compile, "load", load, raising=False)
    CliRunner().invoke(serve.command, [str(talking), "--port", "0", *given])
    assert asked["capacity"] == capacity


def test_without_the_extra_one_error_says_what_to_install(
    talking: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    result = CliRunner().invoke(serve.command, [str(talking)])
    assert result.exit_code == 2
    assert "pip install 'sala-compile[serve]'" in result.stderr
    with pytest.raises(RequestError):
        serve.require_extra()
