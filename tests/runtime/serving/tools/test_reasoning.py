"""The reasoning at the beginning of an answer."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sala_compile.runtime.serving.tools.piece import Channel, PlainText
from sala_compile.runtime.serving.tools.reasoning import MARKS, ReasoningParser

THINK = MARKS[0]
CASES = [
    ("<think>\nIt is b.\n</think>\n\nb", False, "It is b.", "b"),
    ("\n<think>a</think>b", False, "a", "b"),
    ("It is b.\n</think>\n\nb </think> c", True, "It is b.", "b </think> c"),
    ("b, not <think>a</think>", False, "", "b, not <think>a</think>"),
    ("<think></think>b", False, "", "b"),
    ("<think>cut at its len", False, "cut at its len", ""),
    ("cut in its mark </thi", True, "cut in its mark </thi", ""),
    ("<thi", False, "", "<thi"),
    (" \n", False, "", " \n"),
    ("a < b </ think", True, "a < b </ think", ""),
]


@pytest.mark.parametrize(("text", "inside", "reasoning", "content"), CASES)
@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 12), max_size=6))
def test_reasoning_has_a_field_of_its_own(
    text: str, inside: bool, reasoning: str, content: str, cuts: Sequence[int]
):
    parser, place, pieces = ReasoningParser(THINK, PlainText(), inside=inside), 0, []
    for size in [*cuts, *[1] * len(text)]:
        pieces += parser.push(text[place : place + size])
        place += size
    pieces += parser.flush()
    assert "".join(piece.raw for piece in pieces) == text
    assert all(piece.raw for piece in pieces)

    def of(channel: Channel) -> str:
        return "".join(piece.raw for piece in pieces if piece.channel is channel)

    assert (of(Channel.REASONING), of(Channel.CONTENT)) == (reasoning, content)
