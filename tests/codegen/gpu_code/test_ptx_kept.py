"""Rows of the table of executed code: kept, taken again, and executed anew after a change."""

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.ptx import kept
from tests.support.ptx.kept import Executed


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Executed:
    """A row that two files of a project decided."""
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    for name in ("kernel.py", "test.py"):
        (tmp_path / name).write_text(name)
    files = {name: kept._digest(tmp_path / name) for name in ("kernel.py", "test.py")}
    return Executed(
        tests="linear/test_gpu",
        processor="sm_89",
        passed=3,
        skipped=0,
        count=2,
        launches=5,
        instructions=700,
        seconds=9,
        programs=kept.digest_of_texts(["one", "two"]),
        triton=version("triton"),
        files=files,
    )


def test_a_row_is_taken_again_until_a_file_changes(row: Executed, tmp_path: Path) -> None:
    kept.write(tmp_path, row)
    assert kept.read(tmp_path, row.tests, row.processor) == row
    assert kept.read(tmp_path, row.tests, "sm_90") is None
    (tmp_path / "kernel.py").write_text("another kernel")
    assert kept.read(tmp_path, row.tests, row.processor) is None
    (tmp_path / "kernel.py").write_text("kernel.py")
    assert kept.read(tmp_path, row.tests, row.processor) == row
    (tmp_path / "test.py").unlink()
    assert kept.read(tmp_path, row.tests, row.processor) is None


def test_a_row_of_another_triton_is_not_taken(
    row: Executed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.write(tmp_path, row)
    monkeypatch.setattr(kept, "version", lambda _: "0.0")
    assert kept.read(tmp_path, row.tests, row.processor) is None


def test_a_row_has_a_cell_for_each_column(row: Executed) -> None:
    assert row.row().count("|") == kept.HEADER[0].count("|") == kept.HEADER[1].count("|")
    assert row.programs[:12] in row.row()


def test_programs_have_one_digest_in_any_order() -> None:
    assert kept.digest_of_texts(["a", "b"]) == kept.digest_of_texts(["b", "a"])
    assert kept.digest_of_texts(["a", "b"]) != kept.digest_of_texts(["a", "c"])


def test_what_decides_a_row_is_the_tests_and_the_kernels() -> None:
    from sala_compile.codegen.kernels.linear.gpu import kernel

    files = kept.loaded_files()
    assert "tests/codegen/gpu_code/test_ptx_kept.py" in files
    assert str(Path(kernel.__file__).resolve().relative_to(kept.ROOT)) in files
    assert not any("/cpu/" in name or name.startswith("runtime") for name in files)
