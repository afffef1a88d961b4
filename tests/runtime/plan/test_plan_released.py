"""The memory plan of the released 32-layer model, compiled on paper."""

import json
from dataclasses import replace

import pytest

from sala_compile.runtime.artifact import Program, Symbol
from sala_compile.runtime.plan import (
    LAST_LOGITS,
    MemoryPart,
    MemoryPlan,
    Sizes,
    arena_buffers,
    largest_context,
    largest_contexts,
    plan_memory,
    token_parts,
)
from sala_compile.runtime.plan.arena_packing import lower_bound
from sala_compile.runtime.plan.least import LeastMemory
from tests.support.plans import RELEASED, plan_on_paper

CONTEXT = 1 << 20
GIB = 1 << 30
WEIGHTS = 18_955_345_920


def sizes(*, context: int = CONTEXT, batch: int = 1, chunk: int = 512, workers: int = 2) -> Sizes:
    """Sizes of as many live sequences as there are in a step."""
    return Sizes(context, batch, chunk, batch, workers)


@pytest.fixture(scope="module")
def program() -> Program:
    """All phases of the released model."""
    return plan_on_paper().program


@pytest.fixture(scope="module")
def plan(program: Program) -> MemoryPlan:
    """One sequence of a million tokens."""
    return plan_memory(program, "cpu", sizes(), WEIGHTS)


@pytest.mark.parametrize(
    "chosen",
    [
        sizes(),
        sizes(context=32768, batch=4, workers=8),
        sizes(context=4096, chunk=64),
        sizes(batch=8, chunk=2048, workers=16),
    ],
    ids=["1M", "32K x 4", "small", "1M x 8"],
)
def test_the_arena_is_within_5_percent_of_its_lower_bound(program: Program, chosen: Sizes):
    packing = plan_memory(program, "cpu", chosen, 0).packing
    assert packing.lower_bound <= packing.total <= 1.05 * packing.lower_bound


def test_the_state_is_what_the_configuration_implies(plan: MemoryPlan):
    config = json.loads(RELEASED.read_text())
    sparse = config["mixer_types"].count("minicpm4")
    linear = len(config["mixer_types"]) - sparse
    row = config["num_key_value_heads"] * config["head_dim"] * 2
    assert plan.parts["kv_pages"] == sparse * CONTEXT * 2 * row
    stride = config["sparse_config"]["kernel_stride"]
    keys = CONTEXT // stride + CONTEXT // (4 * stride)
    assert plan.parts["compressed_keys"] == sparse * keys * row
    state = config["lightning_nh"] * config["lightning_head_dim"] ** 2 * 4
    assert plan.parts["recurrent_state"] == linear * state


def test_the_parts_add_up(plan: MemoryPlan):
    assert plan.total_bytes == sum(plan.parts.values())
    assert plan.mapping_bytes == plan.total_bytes - WEIGHTS


def test_a_token_costs_what_the_plan_grows_by(program: Program, plan: MemoryPlan):
    grown = 16 * 4096
    tokens = token_parts(program, "cpu", sizes(batch=4, workers=8))
    larger = plan_memory(program, "cpu", sizes(context=CONTEXT + grown), WEIGHTS)
    for part in ("kv_pages", "compressed_keys", "recurrent_state", MemoryPart.WEIGHTS):
        assert larger.parts[part] - plan.parts[part] == tokens[part] * grown
    pools = tokens["kv_pages"] + tokens["compressed_keys"]
    assert pools == plan.token_bytes == 8 * (2 + 5 / 64) * 512
    assert (
        larger.parts[MemoryPart.INPUTS] - plan.parts[MemoryPart.INPUTS]
        == tokens[MemoryPart.INPUTS] * grown
    )


def test_only_live_sequences_have_room_for_their_tokens(program: Program, plan: MemoryPlan):
    more = plan_memory(program, "cpu", replace(plan.sizes, snapshots=100, pages=1 << 14), WEIGHTS)
    slots = {LAST_LOGITS, *program.paging.tables}
    rows = sum(place.size // place.shape[0] for name, place in plan.places.items() if name in slots)
    grown = more.parts[MemoryPart.INPUTS] - plan.parts[MemoryPart.INPUTS]
    assert grown == pytest.approx(100 * rows, abs=64 * len(slots))
    assert rows < 4 * CONTEXT, "the tokens of a sequence are more than all else"


def test_the_largest_contexts_fit_to_the_page(program: Program):
    budgets = (8 * GIB, 16 * GIB, 24 * GIB)
    found = largest_contexts(program, "cpu", sizes(), 6 * GIB, budgets)
    assert list(found) == list(budgets)
    assert sorted(found.values()) == list(found.values())
    for budget, context in found.items():
        assert context == largest_context(program, "cpu", sizes(), 6 * GIB, budget)
        assert plan_memory(program, "cpu", sizes(context=context), 6 * GIB).total_bytes <= budget
        more = sizes(context=context + program.paging.page_tokens)
        assert plan_memory(program, "cpu", more, 6 * GIB).total_bytes > budget
    assert largest_contexts(program, "cpu", sizes(), 9 * GIB, (8 * GIB,)) == {8 * GIB: 0}


def test_activations_grow_with_the_context_by_block_scores_alone(program: Program):
    """Chunked prefill: the same chunk at 4K and at 1M tokens; each worker scores one query."""
    few, many = (
        {
            buffer.name: buffer.size
            for buffer in arena_buffers(
                program, program.targets["cpu"], chosen.symbols(program.paging)
            )
        }
        for chosen in (sizes(context=4096), sizes())
    )
    grown = {name: many[name] - few[name] for name in few if many[name] != few[name]}
    scoring = {
        argument
        for phase in program.targets["cpu"].phases.values()
        for step in phase.steps
        if step.family == "select_blocks"
        for argument in step.arguments
    }
    assert set(grown) <= scoring
    pages = {
        c: sizes(context=c).symbols(program.paging)[Symbol.SEQUENCE_PAGES] for c in (4096, CONTEXT)
    }
    blocks, workers = pages[CONTEXT] - pages[4096], 2
    windows_and_rank = (4, 1)
    assert set(grown.values()) == {blocks * workers * 4 * each for each in windows_and_rank}


def test_the_arena_itself_hardly_grows(program: Program):
    short, long = (
        lower_bound(arena_buffers(program, program.targets["cpu"], chosen.symbols(program.paging)))
        for chosen in (sizes(context=16384), sizes())
    )
    assert long - short <= 4 << 20


@pytest.mark.parametrize("context", [512, 40_960, 1 << 20])
@pytest.mark.parametrize("batch", [1, 3])
def test_what_no_plan_undercuts_is_the_plan_at_the_arenas_lower_bound(
    program: Program, context: int, batch: int
):
    chosen = sizes(context=context, batch=batch)
    plan = plan_memory(program, "cpu", chosen, 0)
    wanted = plan.parts | {MemoryPart.ARENA: plan.packing.lower_bound}
    assert LeastMemory(program, "cpu").parts(chosen) == wanted
