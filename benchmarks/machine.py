"""What a table of results says about the machine, the day and the versions."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sala_compile.runtime.artifact.processor import processor_name

READ_BYTES = 512 << 20
"""Bytes of a buffer that no cache holds."""


def machine_document(packages: Sequence[str], threads: int) -> dict[str, Any]:
    """Date, processor, CPUs, threads, whether these had the CPUs to themselves, and versions."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": threads,
        "real_time": os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR),
        "versions": {name: version(name) for name in packages},
    }


def machine_line(document: dict[str, Any]) -> str:
    """The same as a line for people."""
    versions = ", ".join(f"{name} {found}" for name, found in document["versions"].items())
    priority = " of real-time priority" if document["real_time"] else ""
    return (
        f"{document['date']}, {document['processor']}, {document['cpus']} CPUs, "
        f"{document['threads']} threads{priority}; {versions}"
    )
