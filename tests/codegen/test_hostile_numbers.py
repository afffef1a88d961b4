"""Selection and attention over numbers that are none: lists stay complete, nothing is followed."""

from dataclasses import replace

import numpy as np
import pytest

from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support import hostile, tiles
from tests.support.sparse_kernels import (
    CASES,
    HOST,
    PORTABLE,
    PORTABLE_CASES,
    Case,
    Layer,
    run_attend,
    run_select,
)
from tests.support.sparse_layer import START
from tests.support.steps import step

SHARES = (1.0, 0.5, 0.01)
PLACES = ("fine", "coarse", "queries")
LAYERS = [(case, HOST) for case in CASES] + [(case, PORTABLE) for case in PORTABLE_CASES]
LAYERS += [(CASES[0], target) for target in tiles.TARGETS if target != HOST]


def long_layer(case: Case, seed: int = 0) -> Layer:
    """Three tokens whose blocks are chosen by score."""
    length = (case.topk + case.window + 9) * case.block
    batch = step((2, 1), (length, length + 1), block_size=case.block, context=2 * length)
    return Layer.random(case, batch, seed)


def spoil(layer: Layer, place: str, name: str, share: float) -> None:
    """Put a number into some of the compressed keys or of the queries."""
    if place == "queries":
        columns = layer.merged[:, START : START + layer.case.used]
        hostile.fill(columns, name, Element.F32, share)
        return
    hostile.fill(getattr(layer.pools, place), name, layer.case.element, share)


def check_complete(layer: Layer, blocks: np.ndarray, counts: np.ndarray) -> None:
    """Every list ascends, has as many blocks as the budget, and ends in the own block."""
    case, spec = layer.case, layer.case.select
    assert (counts == spec.budget).all()
    for part in layer.batch.reference:
        for row, position in zip(blocks[part.rows], part.positions, strict=True):
            own = int(position) // case.block
            for listed in row.tolist():
                assert listed == sorted(set(listed))
                assert listed[: spec.init_blocks] == list(range(spec.init_blocks))
                assert listed[-1 - case.window :] == list(range(own - case.window, own + 1))


@pytest.mark.parametrize("name", hostile.NAMES)
@pytest.mark.parametrize(("case", "target"), LAYERS, ids=str)
def test_every_list_is_complete(case: Case, target: CpuTarget, name: str) -> None:
    for place in PLACES:
        for share in SHARES:
            layer = long_layer(case)
            spoil(layer, place, name, share)
            check_complete(layer, *run_select(layer, target))


@pytest.mark.parametrize("case", [case for case in CASES if case.select.chosen], ids=str)
def test_what_is_no_number_ranks_above_all_numbers(case: Case) -> None:
    """The blocks over one window without a number are chosen, whatever its bits."""
    for name in ("all bits", "quiet", "negative quiet", "signalling"):
        layer = long_layer(case)
        ratio, slot = case.block // case.stride, (case.init + 2) * case.block // case.stride
        page = layer.batch.compressed_pages[layer.batch.reference.sequences[0].slot, 0]
        run, place = divmod(slot + 1, layer.pools.fine.shape[4])
        layer.pools.fine[page, :, run, :, place] = hostile.bits_of(name, case.element)
        blocks, counts = run_select(layer, HOST)
        check_complete(layer, blocks, counts)
        assert (blocks[:2] == (slot + 1) // ratio).any(axis=2).all(), name


@pytest.mark.parametrize("name", hostile.NAMES)
@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_attention_gives_the_same_bits_every_time(case: Case, name: str) -> None:
    layer = long_layer(case)
    spoil(layer, "fine", name, 0.5)
    for pool in (layer.pools.k, layer.pools.v):
        hostile.fill(pool, name, case.element, 0.1)
    found = [run_attend(layer, HOST, run_select(layer, HOST)) for _ in range(2)]
    assert found[0][0].tobytes() == found[1][0].tobytes()
    assert np.array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("wrong", [-1, -(2**31), 2**31 - 1, 10**6])
@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_attention_follows_no_number_outside_of_the_past(case: Case, wrong: int) -> None:
    """A wrong block is the nearest one of the past, a wrong count the width of the list."""
    layer = long_layer(case)
    blocks, counts = run_select(layer, HOST)
    own = np.concatenate([part.positions for part in layer.batch.reference])[:, None] // case.block
    nearest = blocks.copy()
    nearest[:, :, 1] = np.clip(wrong, 0, own)
    blocks[:, :, 1] = wrong
    expected, _ = run_attend(layer, HOST, (nearest, counts))
    found, read = run_attend(layer, HOST, (blocks, np.full_like(counts, 2**31 - 1)))
    assert np.array_equal(found, expected)
    assert read.max() <= case.select.budget


def test_a_list_does_not_depend_on_what_stood_in_memory() -> None:
    """The workspaces of a step hold what another step left there."""
    case = CASES[1]
    layer = long_layer(case)
    spoil(layer, "fine", "all bits", 1.0)
    first = run_select(layer, HOST)
    longer = replace(layer.batch, call_lengths=tuple(n + 1 for n in layer.batch.call_lengths))
    for expected, found in zip(first, run_select(replace(layer, batch=longer), HOST), strict=True):
        assert np.array_equal(expected, found)
