"""How items are divided among workers: each is done once, by whoever comes."""

from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.kernels.tir.builder import LANES, Expr, kernel, lanes, splat
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support.steps import EXTRA, Library, aligned, poisoned

TARGET = CpuTarget.parse("cpu:x86-64-v3")


def counting_kernel(how: str, *, alone: bool = False) -> Any:
    """A kernel that adds 1 to a row of y for each of so many items, and notes who did it."""
    with kernel(f"{how}_{'alone' if alone else 'together'}", TARGET) as builder:
        sizes = builder.control()
        y = builder.tensor("y", ("rows", LANES), "float32")
        who = builder.tensor("who", ("items",), "int32")

        def body(team: Team) -> None:
            def item(index: Expr) -> None:
                y[index, lanes(0)] = y[index, lanes(0)] + splat(1.0)
                who[index] = team.worker

            {"static": team.static, "dynamic": team.dynamic}[how](sizes.tokens, item)

        workers(builder, sizes, body, alone=sizes.tokens >= 0 if alone else None)
    return builder.function


@pytest.fixture(scope="module")
def library() -> Library:
    """The kernels of this file."""
    made = [
        counting_kernel("static"),
        counting_kernel("dynamic"),
        counting_kernel("dynamic", alone=True),
    ]
    return Library(made, TARGET)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("name", ["static_together", "dynamic_together", "dynamic_alone"])
@pytest.mark.parametrize("items", [0, 1, 2, 3, 7, 64, 1000])
def test_every_item_is_done_once(library: Library, name: str, count: int, items: int):
    control = np.zeros(16, np.int32)
    control[0], control[3] = items, count
    done = aligned(np.zeros((items + EXTRA, LANES), np.float32))
    who = poisoned(items + EXTRA, dtype=np.int32)
    library.call(name, aligned(control), done, who)
    np.testing.assert_array_equal(done[:items], 1)
    np.testing.assert_array_equal(done[items:], 0)
    assert (who[items:] == -1).all()
    assert ((who[:items] >= 0) & (who[:items] < (1 if name == "dynamic_alone" else count))).all()
