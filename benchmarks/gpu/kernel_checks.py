"""The kernels' tests on the device instead of the interpreter.

    python -m benchmarks.gpu.kernel_checks --output build/gpu/results/kernel-checks.json

The tests draw fresh inputs, poison what a kernel has to write and compare with float64; here
every kernel that they run is compiled by this machine's Triton and launched on its GPU.
"""

import argparse
import json
from pathlib import Path

import pytest

from tests.support import interpreted, on_device

FOLDER = Path(__file__).parents[2] / "tests" / "codegen" / "gpu"


class Outcomes:
    """A pytest plugin that counts, and keeps the names of what failed."""

    def __init__(self) -> None:
        """Nothing was run."""
        self.passed = 0
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test by its call, or by a set-up that failed."""
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed += 1


def main() -> None:
    """Run the tests, write the counts, exit as pytest does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("tests", nargs="*", default=[str(FOLDER)])
    options = parser.parse_args()
    interpreted.run = on_device.run  # before the tests import it
    outcomes = Outcomes()
    arguments = ["-q", "-p", "no:cacheprovider", *options.tests]
    status = pytest.main(arguments, plugins=[outcomes])
    document = {
        "device": on_device.driver().properties.name,
        "passed": outcomes.passed,
        "failed": len(outcomes.failed),
        "names": outcomes.failed,
    }
    options.output.write_text(json.dumps(document, indent=1) + "\n")
    raise SystemExit(int(status))


if __name__ == "__main__":
    main()
