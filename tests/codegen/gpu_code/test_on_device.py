"""The runner that launches kernels on a GPU, over an emulated one."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.kernel import ONE, GpuKernel, Launch, Parameter, Pointer
from tests.support import interpreted, on_device
from tests.support.emulated_gpu import EmulatedDriver, emulated_code
from tests.support.toy_kernel import toy_kernel


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedDriver]:
    opened = EmulatedDriver()
    stream = opened.stream()
    monkeypatch.setattr(on_device, "driver", lambda: opened)
    monkeypatch.setattr(on_device, "_stream", lambda: stream)
    monkeypatch.setattr(on_device, "_functions", {})
    with emulated_code():
        yield opened


def _buffers(rows: int, live: int) -> dict[str, np.ndarray]:
    control = np.zeros(16, np.int32)
    control[0] = live
    return {
        "control": control,
        "x": np.random.default_rng(rows).standard_normal((rows, 48)).astype(np.float32),
        "y": np.zeros((4, 48), np.uint16),
        "out": np.zeros(rows, np.float32),
    }


def test_a_kernel_does_what_the_interpreter_does(gpu: EmulatedDriver) -> None:
    kernel = replace(toy_kernel(), symbol="toy_on_device")
    found, expected = _buffers(11, 9), _buffers(11, 9)
    on_device.run(kernel, found, {"tokens": 11}, poisoned=["y", "out"])
    interpreted.run(kernel, expected, {"tokens": 11}, poisoned=["y", "out"])
    assert np.isnan(found["out"][9:]).all()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert len(gpu.launched) == 6, "three slabs of two launches"
    assert not gpu.memory
    assert not gpu.pinned


@triton.jit
def _double(x, out, N: tl.constexpr):
    column = tl.arange(0, N)
    tl.store(out + column, 2 * tl.load(x + column))


def test_buffers_that_are_one_array_are_one_on_the_device(gpu: EmulatedDriver) -> None:
    kernel = GpuKernel(
        "double",
        (Parameter("x", "float32", (4,)), Parameter("out", "float32", (4,))),
        (Launch(_double, (ONE,) * 3, {n: Pointer(n, "fp32") for n in ("x", "out")}, {"N": 4}),),
    )
    stream = np.arange(4, dtype=np.float32)
    on_device.run(kernel, {"x": stream, "out": stream}, {})
    assert stream.tolist() == [0, 2, 4, 6]
    addresses = [value for value, is_address in gpu.launched[-1].arguments if is_address]
    assert addresses[0] == addresses[1]
    assert not gpu.memory


@triton.jit
def _beyond(out, N: tl.constexpr):
    tl.store(out + N, 1.0)


def test_a_write_beside_a_buffer_is_found(gpu: EmulatedDriver) -> None:
    kernel = GpuKernel(
        "beyond",
        (Parameter("out", "float32", (4,)),),
        (Launch(_beyond, (ONE, ONE, ONE), {"out": Pointer("out", "fp32")}, {"N": 4}),),
    )
    with pytest.raises(AssertionError, match="wrote beside out"):
        on_device.run(kernel, {"out": np.zeros(4, np.float32)}, {})
    assert not gpu.memory
