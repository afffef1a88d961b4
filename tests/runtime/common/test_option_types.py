"""Values of options, as people write them."""

import click
import pytest

from sala_compile.runtime.common.option_types import Seconds

TIME = Seconds(min=0.001, max=3600)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0.25", 0.25), ("0.25s", 0.25), ("250ms", 0.25), (" 2 s", 2.0), (0.25, 0.25), ("1e1", 10.0)],
)
def test_times_with_and_without_a_unit(text: object, seconds: float):
    assert TIME.convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "soon", "1m", "nan", "inf", "0", "0.5ms", "4000s"])
def test_what_is_no_time_or_none_that_is_allowed_is_refused(text: str):
    with pytest.raises(click.BadParameter):
        TIME.convert(text, None, None)
