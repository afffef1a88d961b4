"""How many tokens are drafted, by what was right before and what steps cost."""

import pytest

from sala_compile.runtime.generation.draft_lengths import DraftLengths
from sala_compile.runtime.generation.step_costs import SLOPE, StepCosts

MOST = 8


def test_a_longer_match_drafts_more():
    lengths = [DraftLengths().best(shared, MOST, SLOPE) for shared in (3, 4, 8, 16, 32, 100)]
    assert lengths == sorted(lengths)
    assert lengths[0] >= 1
    assert lengths[-1] == MOST


def test_drafts_that_are_wrong_stop_and_return_in_time():
    lengths = DraftLengths()
    drafted = 0
    for _ in range(1000):
        count = lengths.best(20, MOST, SLOPE)
        drafted += count
        if count:
            lengths.observe(20, count, 0)
    assert 20 < drafted < 60


def test_steps_that_cost_as_much_as_their_tokens_have_no_drafts():
    assert DraftLengths().best(100, MOST, 1.0) == 0
    assert DraftLengths().best(100, 0, 0.0) == 0


@pytest.mark.parametrize("each", [0.0, 0.1, 0.4])
def test_the_cost_of_a_token_is_found(each: float):
    """Whatever else the machine does now and then."""
    costs = StepCosts()
    assert costs.slope(1) == SLOPE
    for number in range(200):
        tokens = 1 + number % 5
        late = 50.0 if number % 40 == 39 else 1.0
        costs.note(tokens, late * (1 - each + each * tokens))
    assert costs.slope(1) == pytest.approx(each, abs=0.01)
    assert costs.slope(4) == pytest.approx(each / (1 + 3 * each), abs=0.01)


def test_steps_of_one_token_alone_leave_the_guess():
    costs = StepCosts()
    for _ in range(20):
        costs.note(1, 0.02)
    assert costs.slope(1) == pytest.approx(SLOPE / (1 + SLOPE))
