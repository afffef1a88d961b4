"""Threads of kernels that a benchmark calls without the runtime."""

import os


def use_threads(count: int) -> None:
    """Make parallel kernels called from this Python thread run on `count` threads.

    TVM's pool has half of the machine's CPUs unless CPUs are named with the first call, and pins
    its threads, ours too, unless told not to.
    """
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    import tvm

    allowed = sorted(os.sched_getaffinity(0))
    cpus = [str(allowed[index % len(allowed)]) for index in range(max(count, len(allowed)))]
    tvm.get_global_func("runtime.config_threadpool")(1, count, cpus)
