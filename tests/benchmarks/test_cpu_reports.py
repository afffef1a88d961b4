"""The CPU benchmarks' records and tables."""

from pathlib import Path
from typing import Any

from benchmarks.cpu_model_report import BF16, COMPILED, EAGER, Record, Row, markdown
from benchmarks.cpu_table_report import markdown as table_markdown
from tests.benchmarks.report_text import MACHINE, cells


def rates(**sides: float) -> dict[str, dict[str, float]]:
    return {
        name: {"tokens_per_second": rate, "clean_samples": 3, "samples": 4}
        for name, rate in sides.items()
    }


def model_record(path: Path) -> Record:
    names = ["int4-g128", BF16, EAGER, COMPILED]
    asked = {"sides": names, "threads": 2, "rounds": 1, "steps": 1, "decoded": 4}
    record = Record.load(path, asked)
    found = rates(**dict(zip(names, (12.0, 6.0, 2.0, 3.0), strict=True)))
    ratios = {"int4-g128": {EAGER: 6.0, COMPILED: 4.0}, BF16: {EAGER: 3.0, COMPILED: 2.0}}
    record.add(512, [Row("decode at 512", found, ratios)], {BF16: 0.05})
    record.first_calls = {"1": 41.0}
    return record


def test_the_model_stands_beside_every_peer(tmp_path: Path) -> None:
    record = model_record(tmp_path / "record.json")
    sizes = {"num_hidden_layers": 8, "hidden_size": 4096, "vocab_size": 7}
    text = markdown(MACHINE | {"model": sizes} | record.document([512]))
    lines = cells(text, "| decode at 512 |")
    assert lines[0][1:] == ["12.00 (3/4)", "6.00 (3/4)", "2.00 (3/4)", "3.00 (3/4)"]
    assert lines[1][1:] == ["6.00", "4.00", "3.00", "2.00"]
    assert "bf16 0.050 at 512" in text
    assert "41 s for 1 token." in text
    assert "a sample of decode is 4 tokens." in text


def test_a_record_goes_on_only_for_the_same_request(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record = model_record(path)
    record.save()
    again = Record.load(path, record.asked)
    assert again.lengths == record.lengths
    assert again.first_calls == record.first_calls
    assert not Record.load(path, record.asked | {"threads": 1}).lengths


def table_run(threads: int, context: int, clean: int) -> dict[str, Any]:
    row = {"clean_samples": clean, "samples": 4}
    decode = row | {"work": "decode", "reached": {"read": 0.9}}
    rows = [decode | {"batch": n, "tokens_per_second": 3.0 * n} for n in (1, 8)]
    reached = {"float32": 3.6, "int16": 1.3} | ({"bfloat16": 1.8} if threads == 2 else {})
    prefill = row | {"work": "prefill", "reached": reached}
    rows.append(prefill | {"batch": 1, "tokens_per_second": 20.0})
    ceilings = {"read_bytes_per_second": 25e9, "peak_operations_per_second": 3e11}
    return {"threads": threads, "context": context, "rows": rows, "ceilings": ceilings}


def test_the_table_marks_what_was_never_clean() -> None:
    runs = [table_run(1, 1024, 4), table_run(2, 65536, 0)]
    text = table_markdown(MACHINE | {"layers": 32, "quantize": "int4-g128", "runs": runs})
    (first,), (second,) = (cells(text, f"| {context} |") for context in ("1K", "64K"))
    decode, machine = ["3.00 (0.90)", "24.00 (0.90)"], ["25.0", "300"]
    assert first[1:] == [*decode, "20.00 (1.30, 3.60)", *machine, "12/12"]
    decode = ["3.00* (0.90)", "24.00* (0.90)"]
    assert second[1:] == [*decode, "20.00* (1.30, 1.80)", *machine, "0/12"]
    assert text.index("## 1 thread,") < text.index("| 1K |") < text.index("## 2 threads,")
