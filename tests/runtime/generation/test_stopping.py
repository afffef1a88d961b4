"""Stop strings in text that arrives in pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation.stopping import StopStrings


def _run(stops: tuple[str, ...], pieces: list[str]) -> tuple[str, str | None]:
    watcher, text = StopStrings(stops), ""
    for piece in pieces:
        text += watcher.push(piece)
        if watcher.stopped_by is not None:
            return text, watcher.stopped_by
    return text + watcher.flush(), None


def test_a_stop_string_across_pieces_is_never_shown():
    assert _run(("</end>",), ["some </", "en", "d> more"]) == ("some ", "</end>")


def test_a_false_start_is_given_back():
    assert _run(("abc",), ["xab", "ab", "d"]) == ("xababd", None)


def test_without_stop_strings_nothing_is_held():
    assert StopStrings(()).push("text") == "text"


def test_a_single_text_is_one_stop_string():
    assert StopStrings("ab").push("xaby") == "x"


def test_an_empty_stop_string_is_refused():
    with pytest.raises(RequestError, match="empty"):
        StopStrings(("a", ""))


@given(
    text=st.text("ab", max_size=12),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 12), max_size=4),
)
def test_the_split_of_the_text_changes_nothing(text: str, stops: list[str], cuts: list[int]):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert _run(tuple(stops), pieces) == _run(tuple(stops), list(text))
