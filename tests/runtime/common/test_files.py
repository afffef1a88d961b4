"""Whatever stands in place of a file is refused at once, by name."""

import os
import re
import socket
from pathlib import Path

import pytest

from sala_compile.runtime.common.files import FileRule, shown, stands
from sala_compile.runtime.errors import ArtifactError, RequestError

RULE = FileRule(what="the prompt file", limit=1000, fix="name another file")


def _refusal(path: Path | str, rule: FileRule = RULE) -> RequestError:
    with pytest.raises(RequestError) as caught:
        rule.open(path).close()
    assert caught.value.found.startswith("the prompt file ")
    assert caught.value.expected is not None
    assert caught.value.fix == "name another file"
    return caught.value


def test_a_regular_file_is_read_whole_from_its_start(tmp_path: Path):
    path = tmp_path / "text"
    path.write_bytes("a\r\nbé".encode())
    assert RULE.read(path) == "a\r\nbé".encode()
    assert RULE.read_text(str(path)) == "a\r\nbé"
    with RULE.open(path) as file:
        assert file.read(1) == b"a"


def test_an_empty_file_and_one_as_large_as_the_limit_are_read(tmp_path: Path):
    path = tmp_path / "text"
    for size in (0, 1000):
        path.write_bytes(b"x" * size)
        assert len(RULE.read(path)) == size


def test_a_link_to_a_file_is_followed(tmp_path: Path):
    (tmp_path / "text").write_text("abc")
    (tmp_path / "link").symlink_to("text")
    assert RULE.read_text(tmp_path / "link") == "abc"


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert "it is a pipe" in _refusal(tmp_path / "pipe").found


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty", "/dev/random"])
def test_devices_are_refused(device: str):
    assert "it is a character device" in _refusal(device).found


def test_sockets_and_directories_are_refused(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(tmp_path, os.O_RDONLY)  # the path of a socket is short
        server.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        assert "it is a socket" in _refusal(tmp_path / "socket").found
    assert "it is a directory" in _refusal(tmp_path).found


def test_a_pipe_that_a_shell_names_is_refused():
    read, write = os.pipe()
    assert "it is a pipe" in _refusal(f"/dev/fd/{read}").found
    os.close(read)
    os.close(write)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path):
    path = tmp_path / "text"
    path.write_bytes(b"x" * 1001)
    error = _refusal(path)
    assert error.found == "the prompt file has 1001 bytes"
    assert error.expected == "at most 1000 bytes (1000 B)"


def test_a_file_that_hides_its_size_is_read_up_to_the_limit():
    rule = FileRule(what="the prompt file", limit=10, fix="name another file")
    with pytest.raises(RequestError, match="has more than 10 bytes"):
        rule.read("/proc/self/status")


@pytest.mark.parametrize("limit", [None, 1 << 50])
def test_a_file_without_contents_is_refused(tmp_path: Path, limit: int | None):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    rule = FileRule(what="the prompt file", limit=limit, fix="name another file")
    assert "none of them ever written" in _refusal(path, rule).found


def test_a_sparse_text_is_refused_but_not_a_sparse_file(tmp_path: Path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"{")
        file.seek(1 << 20)
        file.write(b"}")
    rule = FileRule(what="the prompt file", limit=1 << 30, fix="name another file")
    assert len(rule.read(path)) == (1 << 20) + 1
    with pytest.raises(RequestError, match="is sparse"):
        rule.read_text(path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("absent", "cannot be read: No such file or directory"),
        ("x" * 256, "has a name of 256 bytes, which is too long"),
        ("é" * 128, "has a name of 256 bytes, which is too long"),
        ("a/" * 5000, "has a path of [0-9]{5} bytes, which is too long"),
        ("with\0nul", "has a name with a NUL byte"),
        ("half \ud800", "has a name with a NUL byte or a character"),
        ("text/below", "cannot be read: Not a directory"),
        ("round", "cannot be read: Too many levels of symbolic links"),
        ("dangling", "cannot be read: the link leads nowhere"),
    ],
)
def test_names_that_cannot_be_opened(tmp_path: Path, name: str, found: str):
    (tmp_path / "text").write_text("abc")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "dangling").symlink_to("nowhere")
    error = _refusal(f"{tmp_path}/{name}")
    assert re.search(found, error.found)
    assert len(str(error)) < 600
    assert str(error).isprintable() or "\n" in str(error)
    assert "\0" not in str(error)


def test_what_is_not_utf8_is_told_with_its_place(tmp_path: Path):
    (tmp_path / "text").write_bytes(b"abc\xff")
    with pytest.raises(RequestError, match="is not UTF-8: invalid start byte at byte 3"):
        RULE.read_text(tmp_path / "text")


def test_the_error_is_the_one_asked_for(tmp_path: Path):
    rule = FileRule(what="the tokenizer", error=ArtifactError, expected="a tokenizer.json")
    with pytest.raises(ArtifactError, match="it is a directory") as caught:
        rule.open(tmp_path)
    assert caught.value.expected == "a tokenizer.json"


def test_no_descriptor_is_left_open(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 1001)
    before = len(os.listdir("/proc/self/fd"))
    for name in ("pipe", "large", "absent"):
        _refusal(tmp_path / name)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_stands_there_is_seen_whatever_it_is(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert stands(tmp_path / "pipe")
    assert stands(tmp_path / "dangling")
    assert not stands(tmp_path / "absent")
    assert not stands(tmp_path / ("x" * 300))
    assert not stands("a\0b")


def test_paths_are_shown_printable_and_short():
    assert shown("a/b c.txt") == "a/b c.txt"
    assert shown("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert len(shown("x" * 5000)) < 250
