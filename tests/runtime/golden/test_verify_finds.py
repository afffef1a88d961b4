"""Kernels that are wrong on this machine: the vector of each finds it, whatever else holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm_ffi

from sala_compile.runtime.artifact import GOLDEN_NAME, ValueKind, open_artifact
from sala_compile.runtime.devices.cpu.device import CpuDevice
from sala_compile.runtime.verify import VectorKind, verify_artifact


def _cases(directory: Path) -> list[tuple[dict[str, Any], str]]:
    """Every vector with each value that is compared for it."""
    vectors = json.loads((directory / GOLDEN_NAME).read_bytes())["kernels"]
    return [(v, name) for v in vectors for name in (*v["expected"], *v["states"])]


def _spoiled(kernel: Callable[..., Any], place: int) -> Callable[..., Any]:
    """The kernel, and one of the numbers that it wrote to an argument moved a little.

    A choice of blocks becomes another one.
    """

    def call(*arguments: Any) -> None:
        array = np.from_dlpack(arguments[place])
        bits = array.reshape(-1).view(f"u{array.itemsize}")
        before = bits.copy()
        kernel(*arguments)
        changed = np.flatnonzero(bits != before)
        if not len(changed):
            return
        flat, spot = array.reshape(-1), changed[0]
        if array.dtype.kind == "f":
            flat[spot] += 0.02 * max(1.0, np.abs(flat[changed]).max(initial=0.0))
        else:  # an exponent's bit of a bfloat16, another block or count of blocks
            flat[spot] ^= 1 << 8 if array.dtype == np.uint16 else 1

    return tvm_ffi.convert(call)  # as the kernels of a library are


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_every_wrong_value_of_every_kernel_is_found(
    compiled: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = compiled(name)
    program = open_artifact(directory).program
    whole = CpuDevice.kernel
    cases = _cases(directory)
    assert {program.values[value].kind for _, value in cases} == {
        ValueKind.ACTIVATION,
        ValueKind.POOL,
    }
    for vector, value in cases:
        phase = program.targets["cpu"].phases[vector["phase"]]
        place = phase.steps[vector["step"]].arguments.index(value)

        def kernel(
            self: CpuDevice, symbol: str, *, place: int = place, wrong: str = vector["kernel"]
        ):
            found = whole(self, symbol)
            return _spoiled(found, place) if symbol == wrong else found

        monkeypatch.setattr(CpuDevice, "kernel", kernel)
        report = verify_artifact(directory, threads=1)
        failed = [r.name for r in report.results if not r.passed and r.kind is VectorKind.KERNEL]
        assert vector["name"] in failed, f"{vector['name']} with a wrong {value}"


def test_selection_beyond_the_budget_is_among_the_vectors(compiled: Callable[[str], Path]) -> None:
    """Of some sequence blocks are left out, so that a wrong choice can show."""
    directory = compiled("float32")
    artifact = open_artifact(directory)
    golden = artifact.golden()
    lengths = [sequence.history for sequence in golden.sequences]
    vector = next(v for v in golden.kernels if v.kernel.startswith("select_blocks"))
    spec = next(k.spec for k in artifact.manifest.kernels if k.symbol == vector.kernel)
    budget = spec["topk"] + spec["init_blocks"] + spec["window_blocks"]
    assert max(lengths) // spec["block_size"] > budget
    assert max(s.call_length for s in golden.sequences) >= spec["dense_len"]
