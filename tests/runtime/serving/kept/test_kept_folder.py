"""The directory of kept prefixes: what is found, removed first, and never believed."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from sala_compile.runtime.errors import RequestError, StateFileError
from sala_compile.runtime.serving.kept.kept_file import damaged, read_kept_header, read_kept_pieces
from sala_compile.runtime.serving.kept.kept_folder import LOCK, PARTIAL, KeptFolder
from tests.support.kept_files import IDENTITY, contents, digest, header, write_kept

LIMIT = 1 << 20


def _opened(directory: Path, limit: int = LIMIT, identity: str = IDENTITY) -> KeptFolder:
    return KeptFolder(directory, limit, identity)


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {LOCK}


def _fill(directory: Path) -> dict[str, str]:
    """A tree of pages a - ab - abc and ax, with states after a, abc, ax, and beyond ab."""
    directory.mkdir(exist_ok=True)
    made = {
        "pages a": header("pages", "a", 0, 64),
        "pages ab": header("pages", "ab", 64, 128, "a"),
        "pages abc": header("pages", "abc", 128, 192, "ab"),
        "pages ax": header("pages", "ax", 64, 192, "a"),
        "state a": header("state", "a", 64, 64, "a"),
        "state abc": header("state", "abc", 192, 192, "abc"),
        "state ab+": header("state", "ab+", 128, 135, "ab"),
        "state ax": header("state", "ax", 192, 192, "ax"),
    }
    for age, each in enumerate(made.values()):
        path = write_kept(directory, each)
        os.utime(path, (1000 + age, 1000 + age))
    return {name: each.name for name, each in made.items()}


def test_files_come_back(tmp_path: Path):
    made = header("pages", "a", 0, 64)
    path = write_kept(tmp_path, made)
    found = read_kept_header(path)
    assert found.model_copy(update={"sha256": made.sha256}) == made
    for number, piece in enumerate(read_kept_pieces(path, made)):
        np.testing.assert_array_equal(piece, contents(number, made.sizes[number]))


def test_every_damaged_byte_is_found(tmp_path: Path):
    made = header("state", "a", 64, 64, "a")
    path = write_kept(tmp_path, made)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[place] ^= 0x40
        path.write_bytes(broken)
        with pytest.raises(StateFileError):
            list(read_kept_pieces(path, made))
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(StateFileError):
            read_kept_header(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(StateFileError, match="bytes"):
        read_kept_header(path)


def test_what_is_there_is_found_again(tmp_path: Path):
    names = _fill(tmp_path)
    folder = _opened(tmp_path)
    assert _names(tmp_path) == {*names.values()}
    assert (folder.info()["files"], folder.info()["states"]) == (8, 4)
    assert folder.info()["bytes"] == sum((tmp_path / n).stat().st_size for n in names.values())
    state = folder.of_text(digest("abc"), exact=True)
    assert state is not None
    assert [pages.header.end for pages in state.ancestry()] == [64, 128, 192]
    assert folder.of_text(digest("nothing"), exact=False) is None
    assert folder.tails(digest("ab boundary")) == [7]
    assert folder.tails(digest("a boundary")) == []


def test_generated_text_is_no_answer_to_who_wants_what_was_read(tmp_path: Path):
    write_kept(tmp_path, header("pages", "a", 0, 64))
    write_kept(tmp_path, header("state", "a'", 64, 64, "a", generated=True))
    folder = _opened(tmp_path)
    assert folder.of_text(digest("a"), exact=True) is None
    found = folder.of_text(digest("a"), exact=False)
    assert found is not None
    assert not found.header.exact
    folder.close()
    write_kept(tmp_path, header("state", "a", 64, 64, "a"))
    folder = _opened(tmp_path)
    for exact in (True, False):
        found = folder.of_text(digest("a"), exact)
        assert found is not None
        assert found.header.exact


def test_the_least_used_state_goes_first_and_pages_with_the_last_one_that_needs_them(tmp_path):
    names = _fill(tmp_path)
    folder = _opened(tmp_path)
    first = folder.of_text(digest("a"), exact=True)
    assert first is not None
    folder.let_go(first)
    folder.touch(first)
    left, gone = {*names.values()}, []
    while left:
        folder.limit = folder.info()["bytes"] - 1
        assert folder.make_room(0)
        gone.append({name for name in names if names[name] in left - _names(tmp_path)})
        left = _names(tmp_path)
    assert gone == [
        {"state abc", "pages abc"},
        {"state ab+", "pages ab"},
        {"state ax", "pages ax"},
        {"state a", "pages a"},
    ]
    assert folder.info()["bytes"] == folder.info()["files"] == 0
    assert folder.info()["evictions"] == 4


def test_the_order_of_use_outlives_the_process(tmp_path: Path):
    names = _fill(tmp_path)
    folder = _opened(tmp_path)
    used = folder.of_text(digest("a"), exact=True)
    assert used is not None
    folder.touch(used)
    folder.close()
    sizes = [(tmp_path / names[name]).stat().st_size for name in ("pages a", "state a")]
    folder = _opened(tmp_path, limit=sum(sizes))
    found = folder.of_text(digest("a"), exact=True)
    assert found is not None
    assert folder.info()["states"] == 1


def test_what_is_held_stays(tmp_path: Path):
    _fill(tmp_path)
    folder = _opened(tmp_path)
    held = folder.of_text(digest("abc"), exact=True)
    assert held is not None
    assert not folder.make_room(LIMIT)
    assert folder.info()["states"] == 1
    assert [(tmp_path / pages.header.name).exists() for pages in held.ancestry()] == [True] * 3
    folder.let_go(held)
    assert folder.make_room(LIMIT)
    assert _names(tmp_path) == set()


def test_what_is_too_large_drives_nothing_out(tmp_path: Path):
    names = _fill(tmp_path)
    folder = _opened(tmp_path)
    assert not folder.make_room(LIMIT + 1)
    assert _names(tmp_path) == {*names.values()}


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        ("pages a", set()),
        ("pages ab", {"pages a", "pages ax", "state a", "state ax"}),
        ("state abc", {"pages a", "pages ab", "pages ax", "state a", "state ab+", "state ax"}),
        ("state ab+", {"pages a", "pages ab", "pages abc", "pages ax", "state a", "state abc"}),
    ],
)
@pytest.mark.parametrize("how", ["gone", "torn", "renamed", "unreadable", "while open"])
def test_what_lost_its_beginning_is_removed(tmp_path: Path, lost: str, left: set[str], how: str):
    names = _fill(tmp_path)
    left = left | ({"state ax"} if lost == "state ab+" else set())
    path = tmp_path / names[lost]
    if how == "gone":
        path.unlink()
    elif how == "torn":
        os.truncate(path, 70)
    elif how == "renamed":
        path.rename(tmp_path / f"{'0' * 32}{path.suffix}")
    elif how == "unreadable":
        path.write_bytes(b"x" * 1000)
    folder = _opened(tmp_path)
    if how == "while open":
        folder.discard(read_kept_header(path), damaged(path, "is damaged"))
    assert _names(tmp_path) == {names[name] for name in left}
    sizes = {name: (tmp_path / names[name]).stat().st_size for name in left}
    assert folder.info()["bytes"] == sum(sizes.values())
    folder.close()
    assert _names(tmp_path) == {names[name] for name in left}


def test_what_a_killed_server_left_is_removed(tmp_path: Path):
    names = _fill(tmp_path)
    (tmp_path / (names["pages a"] + PARTIAL)).write_bytes(b"half")
    folder = _opened(tmp_path)
    assert _names(tmp_path) == {*names.values()}
    assert folder.info()["unfinished"] == 1


def test_files_of_others_stay(tmp_path: Path):
    _fill(tmp_path)
    for name in ("letter.txt", "x.pages", f"{'0' * 31}.state", f"{'0' * 32}.statement"):
        (tmp_path / name).write_text("mine")
    (tmp_path / f"{'1' * 32}.pages").mkdir()
    folder = _opened(tmp_path, limit=1)
    assert folder.info()["foreign"] == 4
    assert folder.info()["unreadable"] == 1
    assert len(_names(tmp_path)) == 5


def test_what_cannot_be_read_is_neither_used_nor_removed(tmp_path: Path, monkeypatch):
    """As with too many open files: the next process finds all of it."""
    names = _fill(tmp_path)

    def refusing(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("sala_compile.runtime.common.files.BufferedReader", refusing)
        folder = _opened(tmp_path)
        assert (folder.info()["files"], folder.info()["unreadable"]) == (0, 8)
        folder.close()
    assert _names(tmp_path) == {*names.values()}
    assert _opened(tmp_path).info()["files"] == 8


def test_other_models_keep_their_files_until_room_is_needed(tmp_path: Path):
    names = _fill(tmp_path)
    other = "b" * 64
    folder = _opened(tmp_path, identity=other)
    assert folder.of_text(digest("a"), exact=False) is None
    assert folder.tails(digest("ab boundary")) == []
    assert folder.info()["files"] == 8
    folder.close()
    own = [header("pages", "a", 0, 64, identity=other)]
    own.append(header("state", "a", 64, 64, "a", identity=other))
    limit = sum(write_kept(tmp_path, each).stat().st_size for each in own)
    folder = _opened(tmp_path, limit, other)
    assert folder.of_text(digest("a"), exact=False) is not None
    assert not any((tmp_path / names[name]).exists() for name in names)


def _try(directory: Path) -> str:
    try:
        _opened(directory).close()
    except RequestError as error:
        return str(error)
    return ""


def test_a_directory_has_one_server(tmp_path: Path):
    folder = _opened(tmp_path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert "in use by another server" in pool.apply(_try, (tmp_path,))
        folder.close()
        assert pool.apply(_try, (tmp_path,)) == ""


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for directory in (tmp_path / "a" / "b", tmp_path / "file", tmp_path / "nul\0"):
        with pytest.raises(RequestError, match="cannot be used"):
            _opened(directory)
    folder = _opened(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    folder.close()
