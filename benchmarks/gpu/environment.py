"""What the results were measured on: device, driver, versions, date, and the device's ceilings.

python -m benchmarks.gpu.environment build/gpu build/gpu/results --part environment
"""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.gpu.budget import measure
from benchmarks.gpu.part import part
from benchmarks.gpu.timing import measure_ceilings
from sala_compile.runtime.devices.cuda.driver import Driver

PACKAGES = ("torch", "triton", "numpy")


def describe() -> dict[str, Any]:
    """The device and what runs on it."""
    device = torch.cuda.get_device_properties(0)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": device.name,
        "multiprocessors": device.multi_processor_count,
        "memory_bytes": device.total_memory,
        "driver_cuda": Driver(0).version,
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": sys.version.split()[0], "torch cuda": torch.version.cuda},
    }


def main() -> None:
    """Write the rows."""
    with part(__doc__) as mine:
        rows = [("device", describe), ("ceilings", lambda: asdict(measure_ceilings()))]
        measure(mine.document, mine.budget, rows)


if __name__ == "__main__":
    main()
