"""The GPU benchmarks' counts and report, without a GPU."""

import json
from pathlib import Path

import pytest

from benchmarks.gpu.report import PARTS, read_parts, render
from benchmarks.gpu.roofline import Ceilings, Cost, decode_step, scoring
from benchmarks.gpu.sizes import Sizes

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


def test_the_report_holds_every_part_beside_its_peer(tmp_path: Path) -> None:
    documents = {
        "environment": {
            "date": "2026-01-01 00:00 UTC",
            "device": "a device",
            "multiprocessors": 132,
            "memory_bytes": 1 << 37,
            "driver_cuda": 13000,
            "versions": {"torch": "2.11"},
        },
        "peers": {
            "ceilings": {"operations": 7.9e14, "bytes": 4.3e12, "exponentials": 3.9e12},
            "seconds": {"fla": 1e-4},
        },
        "model-int4": {
            "artifact": "x.sala",
            "chunk": 8192,
            "memory": {"total_bytes": 1 << 34},
            "device_used_bytes": 1 << 34,
            "rows": [
                {
                    "tokens": 1 << 16,
                    "prefill_seconds": 2.0,
                    "decode_seconds": 0.002,
                    "kernels": [
                        {
                            "family": "linear",
                            "phase": "decode",
                            "bound": "memory",
                            "steps": 128,
                            "seconds": 0.002,
                            "floor_seconds": 0.001,
                        }
                    ],
                }
            ],
        },
        "dense": {"rows": [{"tokens": 1 << 16, "prefill_seconds": 5.0, "decode_seconds": 0.006}]},
    }
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    text = render(read_parts(tmp_path))
    row = next(line for line in text.splitlines() if line.startswith("| 64K |"))
    assert [cell.strip() for cell in row.split("|")[2:6]] == ["2.00", "32768", "5.00", "2.50"]
    assert "CUDA 13.0" in text
    assert "| linear, decode | 64K | 128 | 2.000 | 1.000 | 0.50 | memory |" in text
    missing = set(PARTS) - set(documents)
    assert all(name in text.splitlines()[-1] for name in missing)


def test_a_report_without_results_names_every_part(tmp_path: Path) -> None:
    assert all(name in render(read_parts(tmp_path)) for name in PARTS)
