"""How many threads are taken, and what is refused before anything is loaded."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.codegen.cli import tune
from sala_compile.runtime.cli import bench, inspect, run
from sala_compile.runtime.common import threads
from sala_compile.runtime.common.threads import THREADS_OF_A_CPU, available_cpus, cpu_quota
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.verify import verify_artifact
from tests.support.handmade import expected_logits

CPUS = len(os.sched_getaffinity(0))
MOST = THREADS_OF_A_CPU * CPUS
WRONG = (100_000, MOST + 1, 0, -1, True, 1.0, "2")


@pytest.mark.parametrize("threads", WRONG)
def test_threads_beyond_the_cpus_are_refused(handmade: Path, threads: Any):
    for use in (sala_compile.load, verify_artifact):
        with pytest.raises(RequestError) as caught:
            use(handmade, threads=threads)
        error = caught.value
        assert (
            f"{threads!r} threads are requested, and this process may use {CPUS} CPU" in error.found
        )
        assert error.where == "threads"
        assert f"from 1 to {MOST}," in str(error.expected)
        assert error.fix is not None


def test_the_cpus_are_those_that_the_process_may_use(handmade: Path):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with pytest.raises(RequestError, match="may use 1 CPU\n"):
            sala_compile.load(handmade, threads=THREADS_OF_A_CPU + 1)
        with sala_compile.load(handmade) as model:
            assert model.info()["threads"] == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "of another version\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_control_group_is_read(
    files: dict[str, str], expected: float | None, tmp_path: Path
):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == expected


def test_the_cpus_are_no_more_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "CONTROL_GROUPS", tmp_path)
    for quota, cpus in (("50000", 1), ("150000", min(2, CPUS)), ("100000000", CPUS)):
        (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
        assert available_cpus() == cpus


@pytest.mark.parametrize("threads", [1, CPUS, 2 * CPUS + 1])
def test_threads_that_share_cpus_give_the_same(handmade: Path, threads: int):
    with sala_compile.load(handmade, threads=threads) as model:
        assert model.info()["threads"] == threads
        np.testing.assert_array_equal(model.logits([5, 4, 8]), expected_logits([5, 4, 8]))


@pytest.mark.parametrize("threads", ["100000", "0", "-1", "many"])
@pytest.mark.parametrize(
    ("command", "options"),
    [
        (run.command, ["--ids", "1"]),
        (bench.command, []),
        (inspect.command, ["--verify"]),
        (tune.command, []),
    ],
    ids=["run", "bench", "inspect", "tune"],
)
def test_a_command_says_so_in_one_message(
    handmade: Path, command: Any, options: list[str], threads: str
):
    found = CliRunner().invoke(command, [str(handmade), *options, "--threads", threads])
    assert found.exit_code == 2
    assert "threads" in found.stderr
    assert found.stdout == ""
    if threads == "100000":
        assert re.search(rf"this process may use {CPUS} CPU", found.stderr)


def test_memory_is_planned_for_other_machines(handmade: Path):
    found = CliRunner().invoke(inspect.command, [str(handmade), "--memory", "--threads", "192"])
    assert found.exit_code == 0
    assert "192 threads" in found.stdout
