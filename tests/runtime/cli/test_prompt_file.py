"""Prompts from files: what is none or too long is refused at once, and never read whole."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sala_compile.runtime.cli import prompt_file
from sala_compile.runtime.cli.prompt_file import (
    BYTES_OF_A_TOKEN,
    LEAST,
    default_context,
    read_prompt,
)
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizers.room import PIECE, require_room
from tests.support.handmade import write_handmade


def test_a_file_is_read_with_plain_newlines(tmp_path: Path):
    (tmp_path / "a").write_bytes("\ufeffone\r\ntwo\rthrée\n".encode())
    assert read_prompt(tmp_path / "a", 100) == "one\ntwo\nthrée\n"


def test_a_pipe_is_refused_and_told_of_standard_input(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="it is a pipe") as caught:
        read_prompt(tmp_path / "pipe", 100)
    assert "a pipe is read with --prompt-file -" in str(caught.value.fix)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/stdin-that-is-not", "/", "a\0b", "x" * 300])
def test_what_is_no_file_is_one_error(name: str):
    with pytest.raises(RequestError, match="the prompt file"):
        read_prompt(Path(name), 100)


def test_a_file_longer_than_any_text_of_the_context_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with (tmp_path / "a").open("wb") as file:
        file.write(b"word ")
        file.truncate(10 << 20)
    monkeypatch.setattr(prompt_file, "decode_text", None)
    for context in (1, LEAST // BYTES_OF_A_TOKEN, 10_000):
        with pytest.raises(RequestError, match="has 10485760 bytes") as caught:
            read_prompt(tmp_path / "a", context)
        assert f"{context}" in str(caught.value.fix) or "K tokens" in str(caught.value.fix)


def test_standard_input_is_read_up_to_the_limit(monkeypatch: pytest.MonkeyPatch):
    class Endless(io.RawIOBase):
        read_bytes = 0

        def read(self, size: int = -1) -> bytes:
            self.read_bytes += size
            return b"x" * size

    endless = Endless()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=endless))
    with pytest.raises(RequestError, match=r"the prompt has more than 1\.00 MiB"):
        read_prompt(Path("-"), 10)
    assert endless.read_bytes == LEAST + 1
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"hello")))
    assert read_prompt(Path("-"), 10) == "hello"


def test_the_context_is_the_artifacts(tmp_path: Path):
    assert default_context(write_handmade(tmp_path / "a.sala", context=48)) == 48
    for text in ("", "[]", '{"context": "many"}', '{"context": -1}', "[" * 100_000):
        (tmp_path / "manifest.json").write_text(text)
        assert default_context(tmp_path) == prompt_file.UNKNOWN


def test_a_text_is_counted_only_until_it_does_not_fit():
    counted: list[int] = []

    def count(piece: str) -> int:
        counted.append(len(piece))
        return len(piece) // 5

    with pytest.raises(RequestError, match=r"its first [0-9]+ alone are more than 100000 tokens"):
        require_room("word " * 4_000_000, 100_000, count)
    assert sum(counted) < 3 * PIECE


def test_a_text_that_may_fit_is_not_counted():
    for text, room in (("word " * 1000, 1), ("word " * 100_000, 100_000)):
        require_room(text, room, lambda piece: pytest.fail("counted"))


def test_a_long_text_of_few_tokens_passes():
    pieces: list[str] = []
    text = "a" + " " * (5 * PIECE) + "b"
    require_room(text, 100, lambda piece: pieces.append(piece) or 1)
    assert "".join(pieces) == text
