"""What the results were measured on: device, driver, versions, date.

python -m benchmarks.gpu.environment --output build/gpu/results/environment.json
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from runtime.cuda.driver import Driver

PACKAGES = ("torch", "triton", "numpy")


def main() -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    device = torch.cuda.get_device_properties(0)
    document = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": device.name,
        "multiprocessors": device.multi_processor_count,
        "memory_bytes": device.total_memory,
        "driver_cuda": Driver(0).version,
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": sys.version.split()[0], "torch cuda": torch.version.cuda},
    }
    options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
