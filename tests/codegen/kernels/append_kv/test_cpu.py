"""append_kv and compress_keys on the CPU: pages, pairs, windows, against the reference."""

from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.append_kv import cpu as append_kv
from sala_compile.codegen.kernels.compress_keys import cpu as compress_keys
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support.cached_keys import CACHED_CASES, CachedKeys, specs_of
from tests.support.pools import Pools
from tests.support.step_keys import CASES, Case, boundary_step
from tests.support.steps import Library, step

HOST, PORTABLE = CpuTarget.host(), CpuTarget("x86-64-v3")
PORTABLE_CASES = (CASES[1], CASES[3])
KERNELS = (append_kv, compress_keys)


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all cases for a target."""
    functions = [
        kernel.FAMILY.build(spec, target)
        for case in (CACHED_CASES if target == HOST else PORTABLE_CASES)
        for kernel, spec in zip(KERNELS, specs_of(case), strict=True)
    ]
    return Library(functions, target)


def run(inputs: CachedKeys, target: CpuTarget = HOST) -> None:
    """Append the rows and compress, called with what the declarations say."""
    for kernel, spec in zip(KERNELS, specs_of(inputs.case), strict=True):
        known = (
            inputs.batch.fields(kernel.FAMILY.arguments(spec, kernel.Schedule())) | inputs.buffers
        )
        arguments = kernel.FAMILY.parameters(spec, target)
        library(target).call(spec.symbol, *(known[each.name] for each in arguments))


@pytest.mark.parametrize(
    ("case", "target"),
    [(case, HOST) for case in CACHED_CASES] + [(case, PORTABLE) for case in PORTABLE_CASES],
    ids=str,
)
def test_one_step(case: Case, target: CpuTarget) -> None:
    inputs = CachedKeys.random(case, boundary_step(case), Pools)
    run(inputs, target)
    inputs.check()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pieces_are_bit_equal_to_one_step(case: Case) -> None:
    batch = step((5 * case[1] + 3, 2 * case[1]), block_size=case[1])
    CachedKeys.random(case, batch, Pools).check_pieces(run)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_even_slot_clears_its_partner(count: int) -> None:
    case = CASES[1]
    inputs = CachedKeys.random(case, step((count,), block_size=case[1]), Pools)
    run(inputs)
    batch = inputs.batch
    values = inputs.pools.rows("v", batch, batch.slots[0], count + count % 2)
    assert np.isfinite(values).all()
    assert (values[count:] == 0).all()
