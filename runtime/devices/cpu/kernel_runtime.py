"""TVM's kernel runtime: one copy in a process, and its worker threads."""

import ctypes
import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import tvm_ffi

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.common.threads import available_cpus
from sala_compile.runtime.errors import ArtifactError, RequestError

SPINS = "200"
"""How often a worker without work looks again before it sleeps.

That is longer than the time between two kernels, or two steps. TVM's own 300 000 take minutes to
end a process where other processes wait for the CPUs as well.
"""
CONFIGURE = "runtime.config_threadpool"
_COMPILER = "tvm"
_DEFAULTS = {
    # Pinned threads would ignore the CPUs that this process is confined to.
    "TVM_BIND_THREADS": "0",
    "TVM_THREAD_POOL_SPIN_COUNT": SPINS,
}


class KernelRuntime:
    """Exists once in a process: the library, and the pool of workers of each Python thread."""

    def __init__(self) -> None:
        """Nothing is loaded yet."""
        self._digest: str | None = None
        self._local = threading.local()
        self._orphaned = False
        os.register_at_fork(after_in_child=self._forked)

    def load(self, artifact: Artifact, path: str, spelling: Callable[[OpenFile], str]) -> None:
        """Load the library `path` of the artifact, unless one is there: two register twice.

        `spelling` names an open file to the dynamic linker.
        """
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        info = artifact.manifest.files[path]
        if self._digest is not None and self._digest != info.sha256:
            raise ArtifactError(
                "another version of the kernel runtime is loaded in this process",
                where=str(artifact.directory / path),
                expected="one version in a process",
                fix="use a new process, or compile both models with the same version",
            )
        if tvm_ffi.get_global_func(CONFIGURE, allow_missing=True) is not None:
            return
        place = _compilers_own()
        if place is not None and not _is_same(place, info.size, info.sha256):
            sys.meta_path.insert(0, _TooLate(artifact.directory))
            place = None
        try:
            ctypes.CDLL(str(place or spelling(artifact.file(path))), ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ArtifactError(
                f"the kernel runtime cannot be loaded: {error}", where=path
            ) from None
        self._digest = info.sha256

    def use_threads(self, workers: int) -> None:
        """Make parallel kernels called from this Python thread run on `workers` threads.

        RequestError in a forked process, without the worker threads of its parent.
        """
        if self._orphaned and workers > 1:
            raise RequestError(
                "this process was forked after a call on several threads, which it does not have",
                expected="a process of its own, or a fork before the first call",
                fix='start it with multiprocessing.get_context("spawn"), or load with threads=1',
            )
        if getattr(self._local, "threads", None) == workers:
            return
        configure = tvm_ffi.get_global_func(CONFIGURE, allow_missing=True)
        if configure is not None:
            if not hasattr(self._local, "threads"):
                # The pool is made by the first call and never grows: make it large enough.
                configure(1, max(workers, available_cpus()), _cpus(workers))
            configure(1, workers, _cpus(workers))
        self._local.threads = workers

    def _forked(self) -> None:
        """In a child process: only the thread that forked is there, its pool has no threads."""
        self._orphaned = self._orphaned or hasattr(self._local, "threads")


class _TooLate:
    """Refuses the import of a compiler whose runtime differs from the loaded one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """ImportError for the compiler, instead of a process that aborts."""
        if name != _COMPILER:
            return None
        raise ImportError(
            f"{_COMPILER} cannot be imported any more in this process: {self._directory} was loaded"
            " with the kernel runtime of another version; import it first, or use a new process",
            name=name,
        )


def _compilers_own() -> Path | None:
    """The library that importing the compiler would load, without importing it."""
    try:
        spec = importlib.util.find_spec(_COMPILER)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent / "lib" / "libtvm_runtime.so"
    return place if place.is_file() else None


def _is_same(place: Path, size: int, sha256: str) -> bool:
    if place.stat().st_size != size:
        return False
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _cpus(threads: int) -> list[str]:
    """At least as many CPU numbers as there will ever be threads in the pool."""
    allowed = sorted(os.sched_getaffinity(0))
    count = max(threads, len(allowed))
    return [str(allowed[index % len(allowed)]) for index in range(count)]
