"""The GPU benchmarks' counts and report, without a GPU."""

from typing import Any

import pytest

from benchmarks.gpu.report import PARTS, render
from benchmarks.gpu.roofline import Ceilings, Cost, decode_step, scoring
from benchmarks.gpu.sizes import Sizes
from tests.benchmarks.report_text import cells

CEILINGS = Ceilings(operations=790e12, bytes=4.3e12, exponentials=3.9e12)


def test_the_linears_are_those_of_the_released_model() -> None:
    sizes = Sizes.released()
    embeddings = 2 * sizes.vocabulary * sizes.hidden
    norms = 9_477_203_968 - embeddings - sizes.linear_weights
    lightning_norms = sizes.lightning_layers * (2 * sizes.head_dim + sizes.heads * sizes.head_dim)
    layers = sizes.lightning_layers + sizes.sparse_layers
    assert norms == (2 * layers + 1) * sizes.hidden + lightning_norms


def test_a_cost_takes_the_longest_of_its_times() -> None:
    cost = Cost(operations=790e12, bytes=2 * 4.3e12, exponentials=0.5 * 3.9e12)
    assert cost.seconds(CEILINGS) == pytest.approx(2.0)
    assert cost.bound(CEILINGS) == "memory"


def test_scoring_grows_with_the_context_and_the_tokens() -> None:
    sizes = Sizes.released()
    one = scoring(sizes, 8192, 1 << 18).operations
    assert scoring(sizes, 8192, 1 << 20).operations == pytest.approx(4 * one)
    assert scoring(sizes, 4096, 1 << 18).operations == pytest.approx(one / 2)


def test_int4_decode_is_bound_by_memory_and_reads_less_than_bf16() -> None:
    sizes = Sizes.released()
    int4, bf16 = (decode_step(sizes, 1 << 16, 1, weight_bits=bits) for bits in (4.125, 16.0))
    assert int4.bound(CEILINGS) == "memory"
    assert int4.seconds(CEILINGS) < 0.35 * bf16.seconds(CEILINGS)


KERNEL = {
    "family": "linear",
    "phase": "decode",
    "bound": "memory",
    "steps": 128,
    "seconds": 0.002,
    "floor_seconds": 0.001,
}
DOCUMENTS: dict[str, Any] = {
    "environment": {
        "complete": True,
        "rows": [
            {
                "name": "device",
                "date": "2026-01-01 00:00 UTC",
                "device": "a device",
                "multiprocessors": 132,
                "memory_bytes": 1 << 37,
                "driver_cuda": 13000,
                "versions": {"torch": "2.11"},
            },
            {"name": "ceilings", "operations": 7.9e14, "bytes": 4.3e12, "exponentials": 3.9e12},
        ],
    },
    "racecheck": {
        "complete": True,
        "rows": [{"name": "tiny", "hazards": 0, "ended": False}],
    },
    "kernels": {
        "complete": True,
        "rows": [
            {"name": "a.py::one", "passed": True},
            {"name": "a.py::two", "passed": False, "error": "off by 3"},
        ],
    },
    "golden": {
        "complete": False,
        "rows": [{"name": "golden-a", "passed": False, "error": "DriverError: 700"}],
    },
    "peers": {"complete": True, "rows": [{"name": "torch linear", "seconds": 1e-4}]},
    "model-int4": {
        "complete": False,
        "artifact": "int4",
        "chunk": 8192,
        "memory": {"total_bytes": 1 << 34},
        "device_used_bytes": 1 << 34,
        "rows": [
            {"name": "prefill 64K", "tokens": 1 << 16, "seconds": 2.0},
            {
                "name": "decode 64K",
                "tokens": 1 << 16,
                "seconds": 0.002,
                "least_seconds": 0.0019,
                "append_seconds": 0.003,
            },
            {
                "name": "kernels 64K",
                "tokens": 1 << 16,
                "kernels": [KERNEL, {**KERNEL, "phase": "prefill", "model_seconds": 0.0015}],
            },
        ],
    },
    "dense": {
        "complete": True,
        "rows": [
            {"name": "64K", "tokens": 1 << 16, "prefill_seconds": 5.0, "decode_seconds": 0.006}
        ],
    },
}


def test_the_report_holds_every_part_beside_its_peer() -> None:
    text = render(DOCUMENTS)
    assert cells(text, "| 64K | 2.00")[0] == ["64K", "2.00", "32768", "5.00", "2.50"]
    [decode] = cells(text, "| 64K | 2.00 | 1.90")
    assert decode[:4] == ["64K", "2.00", "1.90", "3.00"]
    assert float(decode[5]) == pytest.approx(2.0 / float(decode[4]), rel=0.01)
    assert "CUDA 13.0" in text
    assert "790 TFLOP/s of bf16 products, 4.30 TB/s" in text
    assert "| linear, decode | 64K | 128 | 2.000 |  | 1.000 | 0.50 | memory |" in text
    assert "| linear, prefill | 64K | 128 | 2.000 | 1.500 | 1.000 | 0.50 | memory |" in text
    assert "Races in tiny: 0 hazards, not to the end." in text
    assert "1 passed, 1 failed." in text
    assert "- FAILED a.py::two" in text
    assert "- FAILED golden-a: DriverError: 700" in text
    assert "Not measured in this run: model-bf16, fla." in text
    assert "Not complete in this run: golden, model-int4." in text


@pytest.mark.parametrize("count", range(len(DOCUMENTS)))
def test_a_run_that_was_cut_off_anywhere_has_its_report(count: int) -> None:
    """Rows that are missing from the end of each part, and parts that only have an error."""
    name = list(DOCUMENTS)[count]
    for rows in range(len(DOCUMENTS[name]["rows"])):
        cut = DOCUMENTS | {name: DOCUMENTS[name] | {"rows": DOCUMENTS[name]["rows"][:rows]}}
        assert "# On a GPU" in render(cut)
    ended = {name: {"complete": False, "rows": [], "error": "it broke"} for name in DOCUMENTS}
    assert render(ended).count("ended with it broke") == len(DOCUMENTS)


def test_a_report_without_results_names_every_part() -> None:
    assert all(name in render({}) for name in PARTS)
