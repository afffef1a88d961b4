"""Sizes, packing, and what fits a budget."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sala_compile.runtime.artifact import (
    PageGroup,
    Paging,
    Program,
    Symbol,
    align,
    columns_of,
    dim_of,
    evaluate,
    pages_of,
)
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.plan import (
    ArenaBuffer,
    MemoryPart,
    Sizes,
    largest_batch,
    largest_context,
    pack,
    plan_memory,
    require_fit,
    token_parts,
)
from sala_compile.runtime.plan.arena_packing import largest
from tests.support.handmade import PAGE, tiny_program

SIZES = Sizes(context=64, batch=2, chunk=8, sequences=3, workers=2)
WEIGHTS = 1000


@st.composite
def buffers(draw: st.DrawFn) -> list[ArenaBuffer]:
    """Buffers of any size over any intervals, in any order."""
    items = draw(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 12))))
    return [
        ArenaBuffer(f"v{i}", size, first, first + more)
        for i, (size, first, more) in enumerate(items)
    ]


@settings(max_examples=200, deadline=None)
@given(buffers())
def test_values_that_live_together_never_overlap(items: list[ArenaBuffer]):
    packing = pack(items)
    for one, two in itertools.combinations(items, 2):
        if one.first <= two.last and two.first <= one.last:
            begin, other = packing.offsets[one.name], packing.offsets[two.name]
            assert begin + one.size <= other or other + two.size <= begin or not one.size * two.size
    for item in items:
        assert packing.offsets[item.name] % 64 == 0
        assert 0 <= packing.offsets[item.name] <= packing.total - align(item.size)
    assert packing.lower_bound <= packing.total


@settings(max_examples=50, deadline=None)
@given(buffers(), st.randoms())
def test_the_order_of_the_buffers_does_not_matter(items: list[ArenaBuffer], random):
    shuffled = list(items)
    random.shuffle(shuffled)
    assert pack(items).offsets == pack(shuffled).offsets


def _released_layers(tokens: int, layers: int = 32) -> list[ArenaBuffer]:
    """Lives and sizes like those of the released model: prefill, decode, logits."""
    kinds = (
        ("norm", 4096 * 2, 0, 1),
        ("qkv", 4096 * 4 * 4, 1, 4),
        ("table", 128 * 4, 0, 3),
        ("blocks", 2 * 96 * 4, 2, 3),
        ("scores", 65536 * 4, 2, 2),
        ("mixed", 4096 * 2, 3, 5),
        ("norm2", 4096 * 2, 5, 6),
        ("gated", 16384 * 2, 6, 7),
    )
    made = [ArenaBuffer("hidden", tokens * 4096 * 4, 0, 2 * 8 * layers + 1)]
    for start, (phase, rows) in enumerate((("prefill", tokens), ("decode", 4))):
        for layer in range(layers):
            at = (start * layers + layer) * 8
            made += [
                ArenaBuffer(f"{phase}/{layer}.{name}", rows * size, at + first, at + last)
                for name, size, first, last in kinds
            ]
    end = 2 * 8 * layers
    return [
        *made,
        ArenaBuffer("rows", 64 * 8192, end, end),
        ArenaBuffer("logits", 64 * 73448 * 4, end, end),
    ]


@pytest.mark.parametrize("tokens", [1, 16, 512, 2048])
def test_the_arena_of_a_deep_model_is_within_5_percent_of_the_bound(tokens: int):
    packing = pack(_released_layers(tokens))
    assert packing.total <= 1.05 * packing.lower_bound


def test_no_buffers_need_no_memory():
    assert (pack([]).total, pack([]).lower_bound) == (0, 0)


@given(st.integers(0, 1000), st.integers(0, 1200))
def test_largest_finds_the_border(border: int, limit: int):
    assert largest(lambda n: n <= border, limit) == min(border, limit)


def paging(ratio: int) -> Paging:
    """Pages of 4 tokens, and compressed ones of so many of them."""
    kv = PageGroup(table="page_table", tokens=4, label="KV pages")
    large = PageGroup(table="compressed_table", tokens=4 * ratio, label="compressed pages")
    return Paging(page_tokens=4, groups={"kv": kv, "compressed": large})


def test_dims_are_polynomials():
    symbols = SIZES.symbols(paging(4))
    assert symbols[Symbol.TOKENS] == 8
    assert symbols[Symbol.PAGES] == 32
    assert symbols[columns_of("compressed")] == 4
    assert evaluate(dim_of(Symbol.SEQUENCE_PAGES, 3, 5), symbols) == 53
    assert evaluate(7, symbols) == 7


@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 8), st.integers(0, 400), st.data())
def test_compressed_pages_suffice_for_every_sharing(
    batch: int, own: int, ratio: int, extra: int, data: st.DataObject
):
    """However the KV pages are shared out, no sequence lacks a compressed page."""
    sequences = batch + data.draw(st.integers(0, 5))
    pages = min(batch * own + extra, sequences * own)
    sizes = Sizes(own * 4, batch, 1, sequences, 1, pages=pages)
    symbols, left, needed = sizes.symbols(paging(ratio)), pages, 0
    for _ in range(sequences):
        taken = data.draw(st.integers(0, min(own, left)))
        left -= taken
        needed += -(-taken // ratio)
    assert needed <= symbols[pages_of("compressed")]


def test_a_plan_places_everything_apart():
    plan = plan_memory(tiny_program(), "cpu", SIZES, WEIGHTS)
    assert plan.total_bytes == plan.mapping_bytes + WEIGHTS == sum(plan.parts.values())
    assert plan.parts["kv_pages"] == 32 * 16 * 4
    assert plan.parts["recurrent_state"] == align(3 * 16 * 4)
    assert plan.token_bytes == 16 * 4 / PAGE + 16 * 4 / 256
    outside = sorted(
        (place.offset, place.size)
        for name, place in plan.places.items()
        if name not in ("hidden", "logits")
    )
    assert outside[0][0] == plan.parts[MemoryPart.ARENA]
    for (begin, size), (following, _) in itertools.pairwise(outside):
        assert begin + align(size) == following
    assert outside[-1][0] + align(outside[-1][1]) == plan.mapping_bytes


def test_storage_that_earlier_artifacts_shared_is_not():
    whole = tiny_program()
    document = whole.model_dump(mode="json")
    assert "alias" not in document["targets"]["cpu"]["phases"]["logits"]
    document["targets"]["cpu"]["phases"]["logits"]["alias"] = {"logits": "hidden"}
    plan = plan_memory(Program.model_validate(document), "cpu", SIZES, 0)
    assert plan.places == plan_memory(whole, "cpu", SIZES, 0).places


def test_the_largest_context_and_batch_are_exact():
    whole = tiny_program()
    budget = plan_memory(whole, "cpu", SIZES, WEIGHTS).total_bytes + 12345
    context = largest_context(whole, "cpu", SIZES, WEIGHTS, budget)

    def total(sizes: Sizes) -> int:
        return plan_memory(whole, "cpu", sizes, WEIGHTS).total_bytes

    assert total(SIZES.with_context(context)) <= budget < total(SIZES.with_context(context + 1))
    batch = largest_batch(whole, "cpu", SIZES, WEIGHTS, budget)
    assert total(SIZES.with_batch(batch)) <= budget < total(SIZES.with_batch(batch + 1))


def test_what_does_not_fit_is_refused_with_what_would():
    whole = tiny_program()
    wide = Sizes(context=1 << 20, batch=2, chunk=8, sequences=2, workers=1)
    with pytest.raises(MemoryBudgetError) as caught:
        require_fit(whole, "cpu", wide, WEIGHTS, 1 << 20)
    context = largest_context(whole, "cpu", wide, WEIGHTS, 1 << 20)
    assert f"context={context}" in str(caught.value)
    require_fit(whole, "cpu", wide.with_context(context), WEIGHTS, 1 << 20)
    with pytest.raises(MemoryBudgetError, match="give more memory"):
        require_fit(whole, "cpu", wide, WEIGHTS, 10)


def test_the_context_ends_where_positions_end():
    sizes = Sizes(context=64, batch=1, chunk=8, sequences=1, workers=1)
    assert (
        largest_context(tiny_program(), "cpu", sizes, 0, 1 << 60) == np.iinfo(np.int32).max // 4 * 4
    )


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"context": 2**31}, "context is 2147483648 tokens"),
        ({"chunk": 2**31}, "chunk is 2147483648 tokens"),
        ({"batch": 10**9, "sequences": 10**9}, "batch is 1000000000"),
        ({"sequences": 65537}, "sequences is 65537"),
    ],
)
def test_sizes_that_no_memory_makes_possible_blame_the_request(sizes: dict[str, int], told: str):
    with pytest.raises(RequestError, match=told):
        plan_memory(tiny_program(), "cpu", replace(SIZES, **sizes), WEIGHTS)


def test_sizes_beyond_an_address_space_blame_the_request():
    program = tiny_program()
    sizes = replace(SIZES, context=2**31 - 1, batch=65536, sequences=65536)
    with pytest.raises(MemoryBudgetError, match="context 2147483647 with batch 65536 needs"):
        plan_memory(program, "cpu", sizes, WEIGHTS)
    with pytest.raises(MemoryBudgetError, match="alone"):
        require_fit(program, "cpu", sizes, WEIGHTS, 1 << 30)
    longest = replace(SIZES, context=2**31 - 1, batch=1, sequences=1)
    assert plan_memory(program, "cpu", longest, WEIGHTS).total_bytes > 0
    assert sum(token_parts(program, "cpu", longest).values()) > 0
    assert largest_context(program, "cpu", SIZES, WEIGHTS, 1 << 62) == (2**31 - 1) // PAGE * PAGE
