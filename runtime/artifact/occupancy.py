"""How many blocks of a launch a multiprocessor holds at a time, by the resources of each."""

from dataclasses import dataclass

from sala_compile.runtime.artifact.gpu import LaunchInfo

WARP = 32
TENSOR_COLUMNS = 512
"""Columns of tensor memory of a multiprocessor, which sm_100 has."""
REGISTERS = 1 << 16
_REGISTER_UNIT, _WARP_UNIT = 256, 4
"""Registers are given to a warp in such pieces, warps to the four schedulers."""
_SHARED_UNIT, _SYSTEM_SHARED = 128, 1024
"""The unit of shared memory in bytes, and the bytes that every block takes besides its own."""


@dataclass(frozen=True, slots=True)
class Multiprocessor:
    """What blocks share: KiB of shared memory, warps, and places for blocks."""

    shared_kib: int
    warps: int
    blocks: int


MULTIPROCESSORS = {
    "sm_80": Multiprocessor(164, 64, 32),
    "sm_86": Multiprocessor(100, 48, 16),
    "sm_89": Multiprocessor(100, 48, 24),
    "sm_90": Multiprocessor(228, 64, 32),
    "sm_100": Multiprocessor(228, 64, 32),
    "sm_120": Multiprocessor(100, 48, 24),
}


def blocks_by_limit(launch: LaunchInfo, architecture: str) -> dict[str, int]:
    """Blocks that a multiprocessor would hold if only one thing were short, by its name."""
    warps = -(-launch.threads // WARP)
    of_warp = _up(max(launch.registers, 1) * WARP, _REGISTER_UNIT)
    registers = REGISTERS // of_warp // _WARP_UNIT * _WARP_UNIT // warps
    limits = {"registers": registers, **_others(launch.threads, launch.shared_bytes, architecture)}
    if launch.tensor_columns:
        limits["tensor memory"] = TENSOR_COLUMNS // launch.tensor_columns
    return limits


def blocks_beside_registers(threads: int, shared_bytes: int, architecture: str) -> int:
    """Blocks of a multiprocessor, however few registers a thread has."""
    return min(_others(threads, shared_bytes, architecture).values())


def _others(threads: int, shared_bytes: int, architecture: str) -> dict[str, int]:
    has = MULTIPROCESSORS[architecture]
    of_block = _up(shared_bytes + _SYSTEM_SHARED, _SHARED_UNIT)
    return {
        "shared memory": has.shared_kib * 1024 // of_block,
        "warps": has.warps // -(-threads // WARP),
        "blocks": has.blocks,
    }


def resident_blocks(launch: LaunchInfo, architecture: str) -> int:
    """Blocks of a launch that a multiprocessor holds at a time."""
    return min(blocks_by_limit(launch, architecture).values())


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
