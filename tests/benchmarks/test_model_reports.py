"""Benchmarks of whole models: rows that are kept, their tables, and the files they write."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.models import sparse_beside_dense_report, whole_model_report
from benchmarks.models.random_gguf import Shape, write_random_gguf
from benchmarks.models.row_record import RowRecord
from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf
from sala_compile.sala_ir.frontends import frontend_for
from tests.benchmarks.report_text import MACHINE

SIDES = ["sala-compile", "llama.cpp"]


def row(own: float, peer: float) -> dict[str, Any]:
    return {
        "values": dict(zip(SIDES, (own, peer), strict=True)),
        "clean": dict.fromkeys(SIDES, 2),
        "samples": dict.fromkeys(SIDES, 3),
        "ratios": {"llama.cpp": own / peer},
    }


def test_a_record_continues_the_same_request_alone(tmp_path: Path) -> None:
    path = tmp_path / "work" / "record.json"
    record = RowRecord(path, {"threads": 2})
    record.add("model", "prefill 512", row(4.0, 2.0))
    assert not record.has("model", "prefill 4096")
    assert RowRecord(path, {"threads": 2}).row("model", "prefill 512") == row(4.0, 2.0)
    assert not RowRecord(path, {"threads": 1}).has("model", "prefill 512")


def test_whole_models_are_summed_up_by_median_and_least(tmp_path: Path) -> None:
    record = RowRecord(tmp_path / "record.json", {"sides": SIDES})
    memory = {side: {"peak": 3 << 20, "anonymous": 1 << 20} for side in SIDES}
    record.add("a", "start", row(0.5, 0.25) | {"memory": memory, "versions": {"llama": "1"}})
    record.add("a", "prefill 512", row(30.0, 10.0))
    record.add("a", "decode at 128, batch 1", row(9.0, 10.0))
    record.add("b", "prefill 512", row(20.0, 10.0))
    record.add("b", "decode at 32768, batch 8", {"left_out": "its cache takes 9.0 GiB"})
    text = whole_model_report.markdown(MACHINE | record.document)
    assert "2.00 times as fast in the median of 3 rows" in text
    assert "at least 0.90 (a, decode at 128, batch 1)" in text
    assert "| prefill 512 | 30.0 (2/3) | 10.0 (2/3) | 3.00 |" in text
    assert "its cache takes 9.0 GiB" in text
    assert "sala-compile 3 (1 of them not of files)" in text
    assert "llama 1" in text


def test_first_tokens_are_sums_and_what_is_extrapolated_is_apart() -> None:
    model = {"read_bytes": 100, "head_bytes": 50}
    rows: dict[str, dict[str, Any]] = {
        "model": {
            "sala": model | {"layers": 4, "whole": 32},
            "qwen3": model | {"layers": 2, "whole": 36},
        },
        "decode 16384": {"sala": {"seconds": 0.002}, "qwen3": {"seconds": 0.004}},
        "segment 0": {"sala": {"seconds": 1.0}, "qwen3": {"seconds": 1.0}},
        "segment 8192": {"sala": {"seconds": 1.0}, "qwen3": {"seconds": 4.0}},
    }
    document = MACHINE | {"segment": 8192, "rows": {"int4": rows}}
    text = sparse_beside_dense_report.markdown(document)
    measured, _, extrapolated = text.partition("**Extrapolated**")
    assert "| 16K | 2.0 s | 5.0 s | 2.0 ms | 4.0 ms | 2.50 | 2.00 |" in measured
    assert "| 16K | 16.0 s | 90.0 s | 9.0 ms | 38.0 ms | 5.62 | 4.22 |" in extrapolated
    del rows["segment 8192"]
    assert "| 16K |  |  |" in sparse_beside_dense_report.markdown(document)


def test_a_random_file_is_a_model(tmp_path: Path) -> None:
    shape = Shape(2, 256, 512, 4, 2, 64, 300, 512)
    path = tmp_path / "random.gguf"
    write_random_gguf(path, shape, "Q4_K", "Q6_K")
    (tmp_path / "files").mkdir()
    with open_gguf(path, tmp_path / "files") as checkpoint:
        frontend = frontend_for(checkpoint.config)
        expected = frontend.expected_tensors(frontend.parse_config(checkpoint.config))
        assert {name: tensor.shape for name, tensor in checkpoint.tensors.items()} == expected
        kinds = {tensor.element for tensor in checkpoint.tensors.values()}
        assert kinds == {"Q4_K", "Q6_K", "F32"}
        for name in expected:
            values = np.asarray(checkpoint.read(name), np.float32)
            assert np.isfinite(values).all()
            assert 1e-3 < np.abs(values).mean() <= 1
