"""How many threads kernels may run on."""

import os
from math import ceil
from pathlib import Path

from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.common.units import is_whole
from sala_compile.runtime.errors import RequestError

THREADS_OF_A_CPU = 8
"""Threads that may share a CPU. They only take turns; but results do not depend on their number,
so that a few more are of use to compare them."""
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """The CPUs that this process may use, which is the default number of threads.

    Those that it may run on, or fewer where its control group, as a container's, has a quota.
    """
    cpus = len(os.sched_getaffinity(0))
    quota = cpu_quota(CONTROL_GROUPS)
    return cpus if quota is None else max(1, min(cpus, ceil(quota)))


def cpu_quota(root: Path) -> float | None:
    """CPUs whose time the control group at `root` may take; None for all, or if nobody says."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # version 1
            quota, period = (
                (root / "cpu" / f"cpu.cfs_{name}_us").read_text().strip()
                for name in ("quota", "period")
            )
        except OSError:
            return None
    if not (quota.isdigit() and period.isdigit() and int(period)):  # "max", or -1
        return None
    return int(quota) / int(period)


def checked_threads(threads: int | None) -> int:
    """The threads to run on; RequestError for none, and for many more than there are CPUs."""
    cpus = available_cpus()
    chosen = cpus if threads is None else threads
    most = THREADS_OF_A_CPU * cpus
    if not (is_whole(chosen) and 1 <= chosen <= most):
        raise RequestError(
            f"{quoted(chosen)} threads are requested, and this process may use {_counted(cpus)}",
            where="threads",
            expected=f"a whole number from 1 to {most}, {THREADS_OF_A_CPU} threads for each CPU",
            fix="leave threads out: then there is one for each CPU",
        )
    return int(chosen)


def _counted(cpus: int) -> str:
    return "1 CPU" if cpus == 1 else f"{cpus} CPUs"
