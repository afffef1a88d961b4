"""The calls of a phase: one by one from Python, or all in one call of the library."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tvm_ffi

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_library
from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.devices.cpu.program import RUN_CALLS, CpuProgram
from sala_compile.runtime.devices.device import StepSizes
from tests.codegen.kernels.tir.test_team import counting_kernel
from tests.support.steps import aligned

KERNEL, ITEMS = "static_together", 3
SIZES = StepSizes(ITEMS, 1, 1)


class Calls:
    """A program of two calls of one kernel, and how often its library ran them by itself."""

    def __init__(self, module: Any, second: str = "who") -> None:
        control = np.zeros(16, np.int32)
        control[0], control[3] = ITEMS, 1
        self.arrays = {
            "control": aligned(control),
            "one": aligned(np.zeros((ITEMS, 16), np.float32)),
            "two": aligned(np.zeros((ITEMS, 16), np.float32)),
            "who": aligned(np.zeros(ITEMS, np.int32)),
            "wrong": aligned(np.zeros(ITEMS, np.float32)),
        }
        self.by_library = 0
        run_calls = module[RUN_CALLS]

        def runner(*arguments: int) -> None:
            self.by_library += 1
            run_calls(*arguments)

        steps = [
            SimpleNamespace(kernel=KERNEL, arguments=("control", values, who))
            for values, who in (("one", second), ("two", "who"))
        ]
        phases = {
            phase: SimpleNamespace(steps=steps) for phase in (PhaseName.PREFILL, PhaseName.DECODE)
        }
        target: Any = SimpleNamespace(phases=phases)
        tensors = {name: tvm_ffi.from_dlpack(array) for name, array in self.arrays.items()}
        self.program = CpuProgram(target, lambda name: module[name], tensors, lambda: None, runner)

    @property
    def done(self) -> tuple[float, float]:
        """How often each call was made."""
        one, two = self.arrays["one"], self.arrays["two"]
        assert (one == one[0, 0]).all()
        assert (two == two[0, 0]).all()
        return float(one[0, 0]), float(two[0, 0])


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A compiled library."""
    path = tmp_path_factory.mktemp("library") / "kernels.so"
    compile_library(
        {KERNEL: counting_kernel("static")}, CpuTarget.parse("cpu:x86-64-v3"), Path(path)
    )
    return tvm_ffi.load_module(str(path))


def elsewhere(work: Callable[[], object]) -> None:
    """Do something on another thread, whose error is raised here."""
    raised: list[Exception] = []

    def caught() -> None:
        try:
            work()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=caught)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@pytest.mark.parametrize("phase", [PhaseName.PREFILL, PhaseName.DECODE])
def test_the_library_runs_a_phase_in_one_call(module: Any, phase: PhaseName):
    calls = Calls(module)
    elsewhere(lambda: calls.program.run(phase, SIZES))
    assert calls.done == (1, 1)
    elsewhere(lambda: calls.program.run(phase, SIZES))
    assert calls.done == (2, 2)
    assert calls.by_library == 2


def test_an_interrupt_can_end_a_long_phase_of_the_main_thread(module: Any):
    calls = Calls(module)
    calls.program.run(PhaseName.PREFILL, SIZES)
    assert (calls.done, calls.by_library) == ((1, 1), 0)
    calls.program.run(PhaseName.DECODE, SIZES)
    assert (calls.done, calls.by_library) == ((2, 2), 1)


def test_hooks_are_called_between_the_steps(module: Any):
    calls, seen = Calls(module), list[tuple[float, float]]()
    hooks = {index: [lambda: seen.append(calls.done)] for index in (0, 1)}
    elsewhere(lambda: calls.program.run(PhaseName.DECODE, SIZES, hooks))
    assert seen == [(1, 0), (1, 1)]
    assert calls.by_library == 0


def test_the_error_of_a_kernel_is_that_of_python_and_nothing_runs_after_it(module: Any):
    calls, found = Calls(module, second="wrong"), list[str]()
    for hooks in ({}, None):
        with pytest.raises(Exception, match="dtype") as caught:
            elsewhere(lambda hooks=hooks: calls.program.run(PhaseName.DECODE, SIZES, hooks))
        found.append(f"{caught.type.__name__}: {caught.value}")
    assert found[0] == found[1]
    assert calls.done == (0, 0)
    assert calls.by_library == 1


def test_a_library_without_the_function_is_called_by_python(module: Any):
    calls = Calls(module)
    target: Any = SimpleNamespace(
        phases={
            PhaseName.DECODE: SimpleNamespace(
                steps=[SimpleNamespace(kernel=KERNEL, arguments=("control", "one", "who"))]
            )
        }
    )
    tensors = {name: tvm_ffi.from_dlpack(array) for name, array in calls.arrays.items()}
    program = CpuProgram(target, lambda name: module[name], tensors, lambda: None)
    program.run(PhaseName.DECODE, SIZES)
    assert calls.done == (1, 0)
