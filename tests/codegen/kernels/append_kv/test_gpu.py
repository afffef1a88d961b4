"""append_kv and compress_keys on a GPU: pages and windows, against the reference."""

import pytest

from sala_compile.codegen.kernels.append_kv import gpu as append_kv
from sala_compile.codegen.kernels.compress_keys.gpu import kernel as compress_keys
from tests.support.cached_keys import CACHED_CASES, CachedKeys, specs_of
from tests.support.gpu_pools import GpuPools
from tests.support.interpreted import TARGET, run
from tests.support.step_keys import CASES, Case, boundary_step
from tests.support.steps import step


def run_both(inputs: CachedKeys) -> None:
    """Append the rows and compress, in grids of a bucket that is larger."""
    sizes = {"tokens": inputs.batch.tokens + 19, "sequences": len(inputs.batch.counts) + 1}
    for kernel, spec in zip((append_kv, compress_keys), specs_of(inputs.case), strict=True):
        fields = inputs.batch.fields(kernel.FAMILY.arguments(spec, kernel.Schedule()))
        built, known = kernel.FAMILY.build(spec, TARGET), fields | inputs.buffers
        run(built, {each.name: known[each.name] for each in built.parameters}, sizes)


@pytest.mark.parametrize("case", CACHED_CASES, ids=str)
def test_one_step(case: Case) -> None:
    inputs = CachedKeys.random(case, boundary_step(case), GpuPools)
    run_both(inputs)
    inputs.check()
    inputs.check_count("v", inputs.tokens)


@pytest.mark.parametrize("case", CASES[1:3], ids=str)
def test_pieces_are_bit_equal_to_one_step(case: Case) -> None:
    batch = step((3 * case[1] + 3, case[1]), block_size=case[1])
    CachedKeys.random(case, batch, GpuPools).check_pieces(run_both)
