"""How many tokens all sequences hold together."""

from pathlib import Path

import pytest

import sala_compile
from sala_compile.runtime.errors import MemoryBudgetError, RequestError

PAGE = 4


def _pages(path: Path, **options: object) -> int:
    with sala_compile.load(path, context=64, batch=4, **options) as model:
        return model.info()["pages"]["kv"]["total"]


def test_without_one_every_sequence_has_the_context(handmade: Path):
    assert _pages(handmade) == 4 * 64 // PAGE


@pytest.mark.parametrize(("capacity", "pages"), [(64, 16), (101, 26), ("128", 32)])
def test_a_capacity_is_shared(handmade: Path, capacity: int | str, pages: int):
    assert _pages(handmade, capacity=capacity) == pages
    assert _pages(handmade, capacity=capacity, snapshots=3) == pages + 3
    assert _pages(handmade, capacity=capacity, memory="1MiB") == pages


def test_the_memory_decides(handmade: Path):
    with sala_compile.load(handmade, context=64, batch=4, capacity=64) as least:
        needed = least.plan.total_bytes
    assert _pages(handmade, capacity="memory") == 64
    assert _pages(handmade, capacity="memory", memory=needed) == 16
    assert 16 < _pages(handmade, capacity="memory", memory=needed + 1500) < 64
    with pytest.raises(MemoryBudgetError):
        _pages(handmade, capacity="memory", memory=needed - 1)


@pytest.mark.parametrize("capacity", [63, "all", -1, 0, True, 1.5])
def test_what_makes_no_sense_is_refused(handmade: Path, capacity: object):
    with pytest.raises(RequestError):
        _pages(handmade, capacity=capacity)


def test_sequences_that_do_not_fit_are_refused_one_by_one(handmade: Path):
    with (
        sala_compile.load(handmade, context=64, batch=4, capacity=64) as model,
        model.sequence() as one,
        model.sequence() as other,
    ):
        one.append([1] * 40)
        with pytest.raises(MemoryBudgetError):
            other.append([1] * 40)
        other.append([1] * 24)


def test_a_prefix_cache_that_leaves_nothing_is_refused_by_name(handmade: Path):
    with pytest.raises(MemoryBudgetError, match="leaves no memory to the model") as refusal:
        sala_compile.load(handmade, memory="1MiB", prefix_cache="1MiB")
    assert refusal.value.where == "prefix_cache"
