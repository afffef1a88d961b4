"""Some tests of every GPU kernel, on the code that Triton compiles for a GPU, executed.

`python -m tests.support.ptx` runs all of them.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest

from tests.codegen.kernels import test_gpu_product_schedules as product
from tests.codegen.kernels import test_gpu_rows as rows
from tests.codegen.kernels.append_kv import test_gpu as pools
from tests.codegen.kernels.attend_blocks import test_gpu as attend
from tests.codegen.kernels.compress_new_keys import test_gpu as new_keys
from tests.codegen.kernels.gated_recurrence import test_gpu as recurrence
from tests.codegen.kernels.lightning_attention import test_gpu as lightning
from tests.codegen.kernels.linear import test_gpu as linear
from tests.codegen.kernels.sample import test_gpu as sample
from tests.codegen.kernels.select_blocks import test_gpu as select
from tests.codegen.kernels.short_convolution import test_gpu as convolution
from tests.support import gpu_rows
from tests.support.ptx.runner import Executor

MODULES = (
    *(gpu_rows, pools, new_keys, select, attend, lightning, linear, sample),
    *(convolution, recurrence),
)
"""Those that run kernels."""
SELECT = select.test_prefill_selects_what_the_reference_scores_highest
SELECT_ONE = select.test_decode_selects_what_the_reference_scores_highest
ATTEND_ONE = attend.test_decode_attends_like_the_reference_and_like_prefill
CASES: dict[str, tuple[int, Callable[[], Any]]] = {
    "norm": (89, partial(rows.test_rms_norm, rows.NORMS[0], 5)),
    "gate": (89, partial(rows.test_rms_norm, rows.NORMS[4], 5)),
    "append and compress": (89, partial(pools.test_one_step, pools.CASES[1])),
    "compress new keys": (89, partial(new_keys.test_one_step, new_keys.CASES[1])),
    "select": (89, partial(SELECT, select.CASES[1])),
    "select, decode": (89, partial(SELECT_ONE, select.CASES[1])),
    "attend": (89, partial(attend.test_prefill_attends_like_the_reference, attend.CASES[1])),
    "attend, decode": (89, partial(ATTEND_ONE, attend.CASES[1])),
    "lightning": (89, partial(lightning.test_chunks_equal_the_reference, lightning.SPECS[1])),
    "lightning step": (89, partial(lightning.test_a_step_equals_the_reference, lightning.SPECS[1])),
    "convolution": (89, partial(convolution.test_tiles_equal_the_reference, convolution.SPECS[1])),
    "convolution, decode": (
        89,
        partial(convolution.test_steps_equal_the_reference, convolution.SPECS[1]),
    ),
    "recurrence": (89, partial(recurrence.test_chunks_equal_the_reference, recurrence.SPECS[1])),
    "recurrence of rows": (
        89,
        partial(recurrence.test_chunks_equal_the_reference, recurrence.SPECS[6]),
    ),
    "recurrence step": (
        89,
        partial(recurrence.test_a_step_equals_the_reference, recurrence.SPECS[1]),
    ),
    "recurrence, three products": (90, recurrence.test_products_of_three_are_as_close),
    "sample": (89, sample.test_draws_are_those_of_the_runtime),
    **{
        f"linear {form}": (89, partial(linear.test_plain_weights, "odd", form))
        for form in linear.FORMS
    },
    **{
        f"integers {form}": (89, partial(linear.test_integers, "int4", form))
        for form in linear.FORMS
    },
    # Asynchronous products of warpgroups, and what is particular to the newest GPUs.
    "released int4 rows": (90, partial(product.test_linears, "int4 rows in parts")),
    "released int4 tiles": (90, partial(product.test_linears, "int4 swiglu tiles")),
    "released selection": (120, partial(product.test_selection, True)),
    "released attention": (90, partial(product.test_attention, True)),
}


@cache
def executor(architecture: int) -> Executor:
    """One for all tests of this process: nothing is compiled twice."""
    return Executor(architecture)


@pytest.mark.parametrize("name", CASES)
def test_the_compiled_code_computes_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture, test = CASES[name]
    runs = executor(architecture)
    for module in MODULES:
        monkeypatch.setattr(module, "run", runs.run)
    monkeypatch.setattr(product, "TARGET", runs.target)
    before = runs.figures.launches
    test()
    assert runs.figures.launches > before, "nothing was executed"
