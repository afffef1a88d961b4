"""compress_new_keys on the CPU: windows and recent keys, against the reference."""

from functools import cache

import pytest

from sala_compile.codegen.kernels.compress_new_keys import cpu
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support.new_keys import NewKeys, spec_of
from tests.support.pools import Pools
from tests.support.step_keys import CASES, Case, boundary_step
from tests.support.steps import Library, step

HOST, PORTABLE = CpuTarget.host(), CpuTarget("x86-64-v3")


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all cases for a target; of one case for a processor of long ago."""
    cases = CASES if target == HOST else CASES[1:2]
    return Library([cpu.FAMILY.build(spec_of(case), target) for case in cases], target)


def run(inputs: NewKeys, target: CpuTarget = HOST) -> None:
    """Call the kernel with what its declaration says."""
    spec = spec_of(inputs.case)
    known = inputs.batch.fields(cpu.arguments(spec, cpu.Schedule())) | inputs.buffers
    arguments = cpu.FAMILY.parameters(spec, target)
    library(target).call(spec.symbol, *(known[each.name] for each in arguments))


@pytest.mark.parametrize(
    ("case", "target"), [*((case, HOST) for case in CASES), (CASES[1], PORTABLE)], ids=str
)
def test_one_step(case: Case, target: CpuTarget) -> None:
    inputs = NewKeys.random(case, boundary_step(case), Pools)
    run(inputs, target)
    inputs.check()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pieces_are_bit_equal_to_one_step(case: Case) -> None:
    _, block, stride, _, _ = case
    counts = (30 * stride + 3, 9 * stride, 1)
    history = (0, 5 * stride + 1, 2 * block)
    batch = step(counts, history, block_size=block)
    NewKeys.random(case, batch, Pools).check_pieces(run)


@pytest.mark.parametrize("case", CASES[1:], ids=str)
def test_keys_after_drafted_tokens_are_those_of_single_steps(case: Case) -> None:
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    for history in (0, 5, 9 * case[2]):
        NewKeys.drafted(case, history, Pools).check_drafts(run)
