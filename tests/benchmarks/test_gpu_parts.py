"""The parts of the GPU measurements on an emulated GPU: rows as they come, stops, and resuming."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from benchmarks.gpu import kernel_checks, recorded
from benchmarks.gpu.budget import Budget, Stopped
from benchmarks.gpu.kernel_checks import Rows, launching, record, run_tests
from benchmarks.gpu.marks import measure_marks
from benchmarks.gpu.recorded import CODE, TABLE, Stale, digest_of_sources, replaying
from benchmarks.gpu.results import Document
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write import gpu_library
from sala_compile.codegen.write.gpu_library import build_library
from sala_compile.runtime.devices.cuda.calls import DriverError
from sala_compile.runtime.model import Model
from tests.support import on_device
from tests.support.emulated_gpu import EmulatedDriver, emulated_code, emulated_gpu
from tests.support.handmade_gpu import write_handmade_gpu
from tests.support.launching_tests import FOLDER, launching_files
from tests.support.toy_kernel import toy_kernel

TESTS = [str(FOLDER / "test_gpu_rows.py"), "-k", "embedding and not integers"]
COUNT = 4


class Clock:
    """Every look at it takes a while."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_only_tests_that_launch_kernels_are_run() -> None:
    names = {str(path.relative_to(FOLDER)) for path in launching_files()}
    own = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/test_gpu.py")}
    assert len(own) > 6
    assert {*own, "test_gpu_rows.py", "test_gpu_product_schedules.py"} <= names
    assert not {"linear/test_cpu.py", "linear/test_gpu_integer_layout.py"} & names


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of one file of tests, for an emulated GPU."""
    folder = tmp_path_factory.mktemp("prepared")
    with emulated_code():
        record(folder, CudaTarget(90), digest_of_sources(), [TESTS])
    return folder


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedDriver]:
    opened = EmulatedDriver()
    stream = opened.stream()
    monkeypatch.setattr(on_device, "driver", lambda: opened)
    monkeypatch.setattr(on_device, "_stream", lambda: stream)
    monkeypatch.setattr(on_device, "_functions", {})
    yield opened
    assert not opened.memory


def _check(prepared: Path, document: Document, budget: Budget) -> Rows:
    rows = Rows(document, budget)
    with replaying(prepared), launching(on_device.run, CudaTarget(90), prepared):
        run_tests(TESTS, rows)
    return rows


def test_tests_launch_what_was_prepared_and_go_on(
    prepared: Path, driver: EmulatedDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_library, "compile_source", None)  # nothing is compiled
    short = _check(prepared, Document(tmp_path, "kernels"), Budget(2.5, Clock(1.0)))
    assert short.stopped
    first = Document(tmp_path, "kernels").rows
    assert 0 < len(first) < COUNT
    assert driver.launched
    rest = _check(prepared, Document(tmp_path, "kernels"), Budget(1e9))
    assert not rest.stopped
    rows = Document(tmp_path, "kernels").rows
    assert rows[: len(first)] == first
    assert [row["passed"] for row in rows] == [True] * COUNT
    assert len({row["name"] for row in rows}) == COUNT


def test_a_wrong_kernel_and_a_broken_gpu_are_told_apart(
    prepared: Path, driver: EmulatedDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = driver._run
    monkeypatch.setattr(driver, "_run", lambda work: None)
    _check(prepared, Document(tmp_path, "wrong"), Budget(1e9))
    rows = Document(tmp_path, "wrong").rows
    assert sorted(row["passed"] for row in rows) == [False, False, True, True], "or had no rows"
    assert any("assert" in row.get("error", "") for row in rows)

    def broken(work: Any) -> None:
        raise DriverError("cuLaunchKernel", 700, "CUDA_ERROR_ILLEGAL_ADDRESS", "as asked")

    monkeypatch.setattr(driver, "_run", broken)
    _check(prepared, Document(tmp_path, "broken"), Budget(1e9))
    assert [row["passed"] for row in Document(tmp_path, "broken").rows] == [False], "no test behind"
    monkeypatch.setattr(driver, "_run", launch)
    _check(prepared, Document(tmp_path, "broken"), Budget(1e9))
    passed = [row["passed"] for row in Document(tmp_path, "broken").rows]
    assert passed == [False] + [True] * (COUNT - 1)


GROUPS = [TESTS, [TESTS[0], "-k", "rope_table"]]


def test_a_recording_that_was_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[str] = []

    def run_one(tests: list[str]) -> int:
        """The first group, and nothing more."""
        if run:
            raise KeyboardInterrupt
        run.append(" ".join(tests))
        return run_tests(tests)

    with emulated_code():
        with monkeypatch.context() as patch:
            patch.setattr(kernel_checks, "run_tests", run_one)
            with pytest.raises(KeyboardInterrupt):
                record(tmp_path, CudaTarget(90), "sources", GROUPS)
        assert run == [" ".join(TESTS)]
        kept = {path.name for path in (tmp_path / recorded.PARTS).iterdir()}
        assert len(kept) > 1
        with monkeypatch.context() as patch:
            patch.setattr(kernel_checks, "run_tests", lambda tests: run.append(tests) or 0)
            patch.setattr(recorded.shutil, "rmtree", lambda _: None)
            record(tmp_path, CudaTarget(90), "sources", GROUPS)
        assert run[1:] == [GROUPS[1]], "a complete group is not run again"
    table = json.loads((tmp_path / TABLE).read_text())
    assert set(table["cubins"]) == {name for name in kept if not name.endswith(".json")}
    record(tmp_path, CudaTarget(90), "sources", GROUPS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((TABLE, CODE))


def test_what_artifacts_and_tests_have_in_common_is_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = toy_kernel()
    with emulated_code(), recorded.keeping(tmp_path, gpu_library):
        made = build_library({"toy": kernel}, CudaTarget(90), "a.cubins", lambda _: None)
        with monkeypatch.context() as patch:
            patch.setattr(gpu_library, "_cubins", {})
            patch.setattr(recorded.pickle, "dumps", None)  # nothing is compiled again
            again = build_library({"toy": kernel}, CudaTarget(90), "a.cubins", lambda _: None)
    assert again.cubins == made.cubins


def test_code_of_another_checkout_is_refused(prepared: Path, tmp_path: Path) -> None:
    table = (prepared / TABLE).read_text()
    (tmp_path / TABLE).write_text(table.replace('"sources": "', '"sources": "0'))
    (tmp_path / CODE).write_bytes((prepared / CODE).read_bytes())
    with pytest.raises(Stale, match="of another checkout"), replaying(tmp_path):
        pass


def test_what_was_not_prepared_is_named(
    prepared: Path, driver: EmulatedDriver, tmp_path: Path
) -> None:
    document = Document(tmp_path, "kernels")
    with replaying(prepared), launching(on_device.run, CudaTarget(90), prepared):
        run_tests([TESTS[0], "-k", "rope_table"], Rows(document, Budget(1e9)))
    errors = [row["error"] for row in document.rows if not row["passed"]]
    assert errors
    assert all("was not prepared for cuda:sm_90" in error for error in errors)


def test_the_tests_launch_in_the_interpreter_again_afterwards(prepared: Path) -> None:
    assert run_tests(TESTS) == 0
    assert kernel_checks.interpreted.run.__module__ == "tests.support.interpreted"


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    artifact = write_handmade_gpu(tmp_path / "tiny.sala")
    with (
        emulated_gpu(),
        sala_compile.load(artifact, device="cuda", context=60, sequences=3) as loaded,
    ):
        yield loaded


MARKS = (8, 16, 32)


def _measure(model: Model, folder: Path, seconds: float, profiled: list[int]) -> None:
    def profile(text: Any) -> list[dict[str, Any]]:
        profiled.append(len(text))
        return [{"family": "linear"}]

    document, budget = Document(folder, "model"), Budget(seconds, Clock(0.01))
    measure_marks(model, document, budget, marks=MARKS, steps=3, profile=profile)


def test_marks_are_measured_as_they_fit_and_another_call_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.gpu.marks.WARM_UP", 4)
    profiled: list[int] = []
    with pytest.raises(Stopped):
        _measure(model, tmp_path, 0.5, profiled)
    first = Document(tmp_path, "model").rows
    assert 0 < len(first) < 9
    assert first[0]["name"] == "prefill 8"
    for _ in range(20):
        try:
            _measure(model, tmp_path, 0.6, profiled)
            break
        except Stopped:
            continue
    rows = Document(tmp_path, "model").rows
    assert rows[: len(first)] == first
    kinds = ("prefill", "decode", "kernels")
    assert [row["name"] for row in rows] == [f"{kind} {mark}" for mark in MARKS for kind in kinds]
    assert profiled == list(MARKS), "nothing is measured twice"
    for row in rows[1::3]:
        assert row["seconds"] == pytest.approx(0.01), "one look at the clock for each token"
        assert row["append_seconds"] == pytest.approx(0.01)


def test_the_answer_of_the_timed_path_is_fed_on_the_device(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are sampled and fed there: the host asks for the token only."""
    monkeypatch.setattr("benchmarks.gpu.marks.WARM_UP", 4)
    read: list[int] = []
    fetched = model.memory.read

    def counted(name: str, out: np.ndarray) -> None:
        read.append(out.size)
        fetched(name, out)

    monkeypatch.setattr(model.memory, "read", counted)
    document, budget = Document(tmp_path, "model"), Budget(1e9, Clock(0.01))
    measure_marks(model, document, budget, marks=(8,), steps=5, profile=lambda text: [])
    assert len(read) <= 2 + 1 + 1 + 5 + 2, "warm-up, prefill, appends; none for the five tokens"
