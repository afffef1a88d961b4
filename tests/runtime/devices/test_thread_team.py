"""The threads of a kernel library: every task of a launch is done once, whoever is there."""

import ctypes
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tvm_ffi

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_library
from sala_compile.runtime.devices.cpu.thread_team import LibraryThreads
from tests.codegen.kernels.tir.test_team import counting_kernel
from tests.support.steps import aligned

KERNEL = "static_together"
REFUSED = """
import ctypes, os, resource, sys, time
import tvm_ffi
from sala_compile.runtime.devices.cpu.thread_team import LibraryThreads
from sala_compile.runtime.errors import RequestError

before = len(os.listdir("/proc/self/task"))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
try:
    LibraryThreads(ctypes.CDLL(sys.argv[1]), 2000).enter()
except RequestError as error:
    time.sleep(0.1)
    print(error.found, 1 + len(os.listdir("/proc/self/task")) - before)
"""


class Group(ctypes.Structure):
    """What a body is told of its launch."""

    _fields_ = (("barrier", ctypes.c_void_p), ("tasks", ctypes.c_int32))


Body = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(Group), ctypes.c_void_p)
Launch = ctypes.CFUNCTYPE(ctypes.c_int, Body, ctypes.c_void_p, ctypes.c_int)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with one parallel kernel."""
    path = tmp_path_factory.mktemp("library") / "kernels.so"
    target = CpuTarget.parse("cpu:x86-64-v3")
    compile_library({KERNEL: counting_kernel("static")}, target, path)
    return path


@pytest.fixture
def library(path: Path) -> Iterator[ctypes.CDLL]:
    """The library, opened, whose kernels this thread calls on two threads."""
    library = ctypes.CDLL(str(path))
    threads = LibraryThreads(library, 2)
    threads.enter()
    yield library
    threads.close()


def launch(library: ctypes.CDLL, body: Callable[[int], int | None], tasks: int = 0) -> list[int]:
    """Launch `body(task)` as a kernel does: the tasks that were done, sorted, and its result."""
    done: list[int] = []

    def called(task: int, group: "ctypes._Pointer[Group]", data: int) -> int:
        done.append(task)
        assert data == 7
        assert group.contents.tasks == max(tasks, 1) or tasks == 0
        return body(task) or 0

    pointer = ctypes.c_void_p.in_dll(library, "__TVMBackendParallelLaunch").value
    assert pointer is not None
    result = Launch(pointer)(Body(called), 7, tasks)
    return [*sorted(done), result]


def nothing(task: int) -> None:
    """A body that is done at once."""


def slow_worker(task: int) -> None:
    """A body whose caller, or whose worker, waits long enough to sleep."""
    time.sleep(0.002 * task)


def slow_caller(task: int) -> None:
    """As before, the other way round."""
    time.sleep(0.002 * (task == 0))


def tasks_of_process() -> int:
    """Threads that this process has now."""
    return len(os.listdir("/proc/self/task"))


@pytest.mark.parametrize("body", [nothing, slow_worker, slow_caller])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_task_is_done_once(library: ctypes.CDLL, count: int, body: Callable[[int], None]):
    threads = LibraryThreads(library, count)
    threads.enter()
    for turn in range(20 if body is not nothing else 300):
        assert launch(library, body) == [*range(count), 0]
        if turn % 10 == 9:
            time.sleep(0.002)  # the workers fall asleep
    threads.close()


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_other_counts_of_tasks_are_done_by_the_caller(library: ctypes.CDLL, tasks: int):
    assert launch(library, nothing, tasks) == [*range(tasks), 0]


def test_a_launch_within_a_task_is_done_by_its_thread(library: ctypes.CDLL):
    inner: list[list[int]] = []
    assert launch(library, lambda task: inner.append(launch(library, nothing, 3))) == [0, 1, 0]
    assert inner == [[0, 1, 2, 0]] * 2


def test_a_thread_without_a_team_does_all_itself(library: ctypes.CDLL):
    found: list[list[int]] = []
    other = threading.Thread(target=lambda: found.append(launch(library, nothing)))
    other.start()
    other.join()
    assert found == [[0, 0]]


def test_threads_have_workers_of_their_own(library: ctypes.CDLL):
    threads, wrong = LibraryThreads(library, 3), []

    def calls() -> None:
        threads.enter()
        wrong.extend(
            found for _ in range(200) if (found := launch(library, nothing)) != [0, 1, 2, 0]
        )

    callers = [threading.Thread(target=calls) for _ in range(3)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not wrong


def test_workers_end_with_their_caller_and_when_closed(library: ctypes.CDLL):
    def settled() -> int:
        time.sleep(0.05)
        return tasks_of_process()

    before = settled()
    threads = LibraryThreads(library, 5)
    other = threading.Thread(target=threads.enter)
    other.start()
    other.join()
    assert settled() == before
    threads.enter()
    assert tasks_of_process() == before + 4
    threads.close()
    assert settled() == before


def test_a_forked_process_does_all_itself_and_has_workers_when_it_enters(library: ctypes.CDLL):
    threads = LibraryThreads(library, 3)
    threads.enter()
    child = os.fork()
    if child == 0:
        alone = launch(library, nothing) == [0, 1, 2, 0] and tasks_of_process() == 1
        threads.enter()
        again = launch(library, slow_worker) == [0, 1, 2, 0] and tasks_of_process() == 3
        os._exit(0 if alone and again else 1)
    assert os.waitpid(child, 0)[1] == 0
    threads.close()


@pytest.mark.parametrize("failing", [0, 1])
def test_the_error_of_a_task_is_raised_by_the_launch(library: ctypes.CDLL, failing: int):
    ffi = ctypes.CDLL(str(Path(tvm_ffi.__file__).parent / "lib" / "libtvm_ffi.so"))

    def body(task: int) -> int:
        if task != failing:
            time.sleep(0.002)
            return 0
        ffi.TVMFFIErrorSetRaisedFromCStr(b"ValueError", b"of task %d" % task)
        return -1

    assert launch(library, body) == [0, 1, -1]
    raised = ctypes.c_void_p()
    ffi.TVMFFIErrorMoveFromRaised(ctypes.byref(raised))
    assert raised.value is not None
    assert launch(library, nothing) == [0, 1, 0]
    ffi.TVMFFIErrorMoveFromRaised(ctypes.byref(raised))
    assert raised.value is None, "an error is raised once"


def test_kernels_run_on_the_team(path: Path, library: ctypes.CDLL):
    module = tvm_ffi.load_module(str(path))
    control, items = np.zeros(16, np.int32), 64
    control[0], control[3] = items, 3
    done, who = aligned(np.zeros((items, 16), np.float32)), aligned(np.full(items, -1, np.int32))
    threads = LibraryThreads(library, 3)
    threads.enter()
    module[KERNEL](*map(tvm_ffi.from_dlpack, (aligned(control), done, who)))
    np.testing.assert_array_equal(done, 1)
    assert set(who.tolist()) == {0, 1, 2}
    threads.close()


def test_more_threads_than_the_system_gives_are_refused(path: Path):
    found = subprocess.run(
        [sys.executable, "-c", REFUSED, path], capture_output=True, text=True, check=True
    )
    assert found.stdout == "the system refuses 2000 threads 1\n"


def test_the_library_opens_where_the_kernel_runtime_does(path: Path):
    """On every machine with a glibc as old as that of TVM's own library."""
    listed = subprocess.run(["objdump", "-T", path], capture_output=True, text=True, check=True)
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", listed.stdout)
    assert versions
    assert max((int(major), int(minor)) for major, minor in versions) <= (2, 17)
