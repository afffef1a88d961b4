"""The table of plans: a row for every config, with the sizes that the compiler plans."""

import pytest

from benchmarks import plans

ROWS = plans.kept_rows()


def test_every_config_has_its_row_in_order() -> None:
    assert list(ROWS) == list(plans.configs())


@pytest.mark.parametrize("name", ["minicpm-sala"])
def test_a_row_is_what_is_planned(name: str) -> None:
    found = plans.row(name, plans.configs()[name])
    sizes = slice(0, 4)  # what threads need is in the others, and machines differ in them
    assert found[sizes] == ROWS[name][sizes]
    assert len(found) == len(ROWS[name])
