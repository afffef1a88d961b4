"""The kernels' tests on the device instead of the interpreter, with code of the product.

    python -m benchmarks.gpu.kernel_checks build/gpu build/gpu/results --part kernels

The tests draw fresh inputs, poison what a kernel has to write and compare with float64. The code
that they launch was compiled by `prepare.py`, as the product's is; nothing is compiled here.
"""

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks.gpu.budget import Budget, Stopped, like_the_last
from benchmarks.gpu.part import part
from benchmarks.gpu.recorded import finish, is_recorded, recording, replaying
from benchmarks.gpu.results import Document
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write.gpu_library import build_library
from sala_compile.runtime.devices.cuda.calls import DriverError
from tests.support import interpreted, on_device
from tests.support.launching_tests import launching_files

RELEASED = Path(__file__).with_name("released_checks.py")
PATHS = tuple(map(str, (RELEASED, *launching_files())))
HELPERS = ("tests.support.gpu_rows", "benchmarks.gpu.released_checks")
PREPARED = "SALA_PREPARED"
"""Names the folder of the artifacts to the tests of the released model's kernels."""


class Rows:
    """A pytest plugin: a row for each test, written when it ends; no test twice."""

    def __init__(self, document: Document, budget: Budget) -> None:
        """Go on behind the rows of `document`."""
        self._document = document
        self._budget = budget
        self._times: list[float] = []
        self.stopped = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Leave the test at hand without a row: pytest takes another exit for its failure."""
        self.stopped = True
        raise KeyboardInterrupt

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what has its row."""
        items[:] = [item for item in items if _name(item.nodeid) not in self._document]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Begin a test only if it will fit."""
        try:
            self._budget.require(like_the_last(self._times))
        except Stopped:
            self.stopped = True
            pytest.exit("no time is left", returncode=0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a test by its call, or by a set-up that failed."""
        if report.when != "call" and not report.failed:
            return
        self._times.append(report.duration)
        error = {"error": report.longreprtext[-1500:]} if report.failed else {}
        self._document.add(_name(report.nodeid), passed=report.passed, **error)

    def pytest_exception_interact(self, node: pytest.Item, call: Any) -> None:
        """End the process where the GPU failed: it fails until then."""
        if isinstance(call.excinfo.value, DriverError):
            node.session.shouldstop = "the GPU failed"


def _name(nodeid: str) -> str:
    """A test as a row names it: the kernel's folder and what is in it."""
    return nodeid.rpartition("kernels/")[2].rpartition("benchmarks/gpu/")[2]


@contextmanager
def launching(run: Any, target: CudaTarget, prepared: Path) -> Iterator[None]:
    """Have the tests that are imported in the block launch kernels for `target` by `run`.

    Those of the released model take its kernels from the artifacts in `prepared`.
    """
    _forget()
    with (
        patch.object(interpreted, "run", run),
        patch.object(interpreted, "TARGET", target),
        patch.dict(os.environ, {PREPARED: str(prepared)}),
    ):
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    """Have modules that took `run` when they were imported be imported again."""
    for name in list(sys.modules):
        if name.startswith("tests.codegen.kernels") or name in HELPERS:
            del sys.modules[name]


def run_tests(tests: Iterable[str], *plugins: object) -> int:
    """Run tests and leave no cache; pytest's exit code."""
    return int(pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=list(plugins)))


def record(
    folder: Path,
    target: CudaTarget,
    sources: str,
    groups: Sequence[Sequence[str]] = tuple((path,) for path in PATHS),
) -> None:
    """Compile for `target` all that the tests launch; they run in the interpreter meanwhile.

    `sources` is the digest of the checkout when the preparation began; `groups` are arguments of
    pytest, of which each complete one is noted.
    """
    names = [" ".join(group) for group in groups]
    for group, name in zip(groups, names, strict=True):
        if not is_recorded(folder, name):
            record_group(folder, target, group, name)
    finish(folder, sources, names)


def record_group(folder: Path, target: CudaTarget, tests: Sequence[str], name: str) -> None:
    """Run some tests in the interpreter and note what they launch."""
    interpret = interpreted.run

    def run(kernel: Any, buffers: Any, sizes: Any, **options: Any) -> None:
        build_library({kernel.symbol: kernel}, target, "kernels.cubins", lambda _: None)
        interpret(kernel, buffers, sizes, **options)

    with recording(folder, name), launching(run, target, folder):
        status = run_tests(tests)
        if status:
            raise SystemExit(f"the kernels' tests fail without a GPU: pytest's code {status}")


def main() -> None:
    """Run the tests that have no row."""
    with (
        part(__doc__) as mine,
        replaying(mine.options.prepared),
        launching(on_device.run, on_device.target(), mine.options.prepared),
    ):
        mine.document.note(device=on_device.driver().properties.name)
        rows = Rows(mine.document, mine.budget)
        signal.signal(signal.SIGTERM, rows.stop)
        status = run_tests(PATHS, rows)
        if rows.stopped:
            raise Stopped
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
