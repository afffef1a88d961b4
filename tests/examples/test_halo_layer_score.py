"""Layers that stay attention: the authors' numbers give the authors' lists."""

import numpy as np
import pytest

from examples.halo.layer_score import (
    CAP,
    highest,
    kept_count,
    main,
    published_models,
    recall_scores,
)


def test_published_logs_give_the_published_layers():
    """Of the 5B the config has layer 31, tenth by score, for layer 34, seventh."""
    two, five, nine = published_models()
    assert (two.name, five.name, nine.name) == ("HypeNet-2B", "HypeNet-5B", "HypeNet-9B")
    assert two.chosen == list(two.shipped) == [2, 3, 6, 8, 9, 21, 25]
    assert nine.chosen == list(nine.shipped) == [1, 2, 4, 6, 7, 10, 24, 33, 34]
    assert five.chosen == [0, 1, 7, 14, 15, 22, 24, 33, 34]
    assert five.difference == ([34], [31])
    order = np.argsort(five.scores)[::-1].tolist()
    assert (order.index(34), order.index(31)) == (6, 9)


@pytest.mark.parametrize("index", range(3))
def test_published_configs_keep_a_quarter(index: int):
    model = published_models()[index]
    assert kept_count(len(model.scores)) == len(model.shipped)


def test_scores_by_hand():
    scores = recall_scores([0.5, 0.9, 0.7], [0.6, 0.4, 0.5])
    np.testing.assert_allclose(scores, [CAP, 0.0, 2.0])
    assert highest(scores, 2) == [0, 2]
    assert highest([1.0, 1.0, 0.0], 1) == [1]
    assert kept_count(3) == 1


def test_the_command_names_the_difference(capsys: pytest.CaptureFixture[str]):
    main()
    printed = capsys.readouterr().out
    assert "the released config has 31 (score 2.604) for 34 (3.781)" in printed
    assert printed.count("the released config has the same") == 2
