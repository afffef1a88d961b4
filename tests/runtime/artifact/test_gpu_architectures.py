"""Which GPUs run which code, whose assembler is trusted, and what a multiprocessor holds."""

import pytest

from sala_compile.runtime.artifact import LaunchInfo
from sala_compile.runtime.artifact.architectures import (
    ARCHITECTURES,
    distrust,
    name_of,
    runs,
    serving,
)
from sala_compile.runtime.artifact.gpu import GridInfo
from sala_compile.runtime.artifact.occupancy import blocks_by_limit, resident_blocks

SERVED = {
    (7, 5): None,
    (8, 0): "sm_80",
    (8, 6): "sm_86",
    (8, 7): None,
    (8, 9): "sm_89",
    (9, 0): "sm_90",
    (10, 0): "sm_100",
    (10, 3): "sm_100",
    (11, 0): None,
    (12, 0): "sm_120",
    (12, 1): "sm_120",
    (13, 0): None,
}


@pytest.mark.parametrize("capability", SERVED)
def test_advice_names_only_what_is_compiled_and_runs(capability: tuple[int, int]):
    code = serving(capability)
    assert code == SERVED[capability]
    assert code is None or (code in ARCHITECTURES and runs(code, capability))


def test_code_runs_on_its_own_architecture_and_on_newer_ones_of_its_family():
    assert all(runs(name_of(each), each) for each in SERVED)
    assert runs("sm_80", (8, 9))
    assert not runs("sm_89", (8, 6))
    assert not runs("sm_86", (8, 7)), "a system on a chip"
    assert not runs("sm_90", (9, 1)), "what only sm_90 has"
    assert not runs("sm_100", (12, 0))
    assert not runs("sm_121", (12, 0))


def test_assemblers_that_are_wrong_for_an_architecture():
    releases = ("12.9", "13.0", "13.2", "13.3", "13.10", "14.0")
    trusted = [each for each in releases if distrust("sm_90", each) is None]
    assert trusted == ["13.3", "13.10", "14.0"]
    assert distrust("sm_89", "12.0") is None
    for family in ("sm_100", "sm_120"):
        assert [each for each in releases if distrust(family, each)] == ["12.9"]


def _launch(threads: int, registers: int, shared: int, columns: int = 0) -> LaunchInfo:
    return LaunchInfo(
        entry="f",
        offset=0,
        size=1,
        threads=threads,
        shared_bytes=shared,
        registers=registers,
        spill_bytes=0,
        tensor_columns=columns,
        grid=(GridInfo(constant=1),) * 3,
        arguments=(),
    )


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "architecture", "blocks"),
    [
        (256, 254, 0, "sm_90", 1),
        (128, 229, 0, "sm_90", 2),
        (128, 56, 57344, "sm_90", 4),
        (128, 32, 0, "sm_90", 16),
        (32, 16, 0, "sm_90", 32),
        (32, 16, 0, "sm_86", 16),
        (128, 128, 65540, "sm_89", 1),
        (128, 168, 32 << 10, "sm_120", 3),
        (1024, 64, 0, "sm_120", 1),
        (128, 64, 227 << 10, "sm_100", 1),
    ],
)
def test_blocks_of_a_multiprocessor(
    threads: int, registers: int, shared: int, architecture: str, blocks: int
):
    """By NVIDIA's occupancy tables."""
    assert resident_blocks(_launch(threads, registers, shared), architecture) == blocks


def test_tensor_memory_may_leave_fewer_blocks_than_shared_memory():
    launch = _launch(128, 48, 57472, columns=256)
    assert blocks_by_limit(launch, "sm_100")["shared memory"] == 3
    assert resident_blocks(launch, "sm_100") == 2
