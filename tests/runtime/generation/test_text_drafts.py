"""Drafts from the text, against a search through all of it."""

import numpy as np
import pytest

from sala_compile.runtime.generation.text_drafts import COMPARED, NEAR, SHORT, TextDrafts


def _longest(text: list[int]) -> int:
    """The most tokens that the end of the text shares with an earlier place, `COMPARED` at most."""
    best = 0
    for place in range(1, len(text)):
        shared = 0
        while shared < min(place, COMPARED) and text[place - 1 - shared] == text[-1 - shared]:
            shared += 1
        best = max(best, shared)
    return best


@pytest.mark.parametrize("vocabulary", [2, 5, 40])
@pytest.mark.parametrize("prompt", [0, 2, 3, 60])
def test_a_draft_follows_a_place_that_ends_as_the_text_does(prompt: int, vocabulary: int):
    random = np.random.default_rng(prompt)
    text = random.integers(0, vocabulary, prompt).tolist()
    drafts = TextDrafts(text)
    for token in random.integers(0, vocabulary, NEAR - 3).tolist() * 2:
        drafts.add(token)
        text.append(token)
        found, longest = drafts.draft(5), _longest(text)
        if found is None:
            assert longest < SHORT
            continue
        assert SHORT <= found.shared <= longest
        end = text[-found.shared :]
        places = [
            place
            for place in range(found.shared, len(text))
            if text[place - found.shared : place] == end
        ]
        assert found.token_ids in [text[place : place + 5] for place in places]


def test_a_repeated_text_is_followed_to_its_end():
    """Long runs are found far back, behind many places that share only a few tokens."""
    random = np.random.default_rng(0)
    quoted = random.integers(0, 1000, 50).tolist()
    begin = quoted[:3]
    distraction = [token for number in range(100) for token in (*begin, 2000 + number)]
    drafts = TextDrafts([*quoted, *distraction])
    for place, token in enumerate(quoted[:-1]):
        drafts.add(token)
        if place >= 8:
            found = drafts.draft(4)
            assert found is not None
            assert found.token_ids[: 49 - place] == quoted[place + 1 : place + 5]


def test_a_text_that_repeats_nothing_has_no_drafts():
    drafts = TextDrafts(range(100))
    assert drafts.draft(4) is None
    for token in range(100, 400):  # beyond what was allocated
        drafts.add(token)
        assert drafts.draft(4) is None
