"""compress_new_keys on a GPU: windows and recent keys, against the reference."""

from dataclasses import asdict

import pytest

from sala_compile.codegen.kernels.compress_new_keys.gpu import kernel
from tests.support.gpu_pools import GpuPools
from tests.support.interpreted import TARGET, run
from tests.support.new_keys import NewKeys, spec_of
from tests.support.step_keys import CASES, Case, boundary_step
from tests.support.steps import step


def run_kernel(inputs: NewKeys, *, decode: bool = False) -> None:
    """Run the kernel in grids of a bucket that is larger."""
    spec = kernel.Spec(**asdict(spec_of(inputs.case)), decode=decode)
    sizes = {"tokens": inputs.batch.tokens + 19, "sequences": len(inputs.batch.counts) + 1}
    fields = inputs.batch.fields(kernel.arguments(spec, kernel.Schedule()))
    run(kernel.FAMILY.build(spec, TARGET), fields | inputs.buffers, sizes)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_step(case: Case) -> None:
    inputs = NewKeys.random(case, boundary_step(case), GpuPools)
    run_kernel(inputs)
    inputs.check()


@pytest.mark.parametrize("case", CASES[1:2], ids=str)
def test_pieces_are_bit_equal_to_one_step(case: Case) -> None:
    _, block, stride, _, _ = case
    counts = (20 * stride + 3, 9 * stride, 1)
    history = (0, 5 * stride + 1, 2 * block)
    batch = step(counts, history, block_size=block)
    NewKeys.random(case, batch, GpuPools).check_pieces(run_kernel)


@pytest.mark.parametrize("history", [0, 5, 36])
def test_keys_after_drafted_tokens_are_those_of_single_steps(history: int) -> None:
    """In the rows from the checkpoint on, but the last, which is in the sequence's own row."""
    both = NewKeys.drafted(CASES[1], history, GpuPools)
    both.check_drafts(lambda inputs: run_kernel(inputs, decode=True))
