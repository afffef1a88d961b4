"""The threads of a kernel library, for every Python thread that calls its kernels."""

import ctypes
import os
import threading

from sala_compile.runtime.errors import RequestError

OPEN, ENTER, CLOSE = "sala_team_open", "sala_team_enter", "sala_team_close"
"""What a library has that brings its own threads."""


class ThreadTeam:
    """A caller and its workers, which sleep while it calls nothing."""

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        """Start the workers; RequestError if the system refuses them."""
        opening = library[OPEN]
        opening.restype = ctypes.c_void_p
        handle = opening(threads)
        if handle is None:
            raise RequestError(
                f"the system refuses {threads} threads",
                where="threads",
                expected="as many as this process may still start",
                fix="request fewer, or raise the limit (ulimit -u, pids.max of a control group)",
            )
        self._handle = ctypes.c_void_p(handle)
        self._enter, self._close = library[ENTER], library[CLOSE]

    def enter(self) -> None:
        """Run the kernels that this Python thread calls, until it enters another team."""
        self._enter(self._handle)

    def __del__(self) -> None:
        """End the workers with the Python thread that they are of."""
        if close := getattr(self, "_close", None):
            close(self._handle)


class LibraryThreads:
    """The teams of one loaded model: one for each Python thread that runs it."""

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        """Nothing is started yet."""
        self._library, self._threads = library, threads
        self.close()

    def enter(self) -> None:
        """Make the kernels that this Python thread calls from now on run on all threads."""
        if self._process != os.getpid():
            self.close()  # forked: the workers are those of the parent
        team = getattr(self._local, "team", None)
        if team is None:
            team = self._local.team = ThreadTeam(self._library, self._threads)
        team.enter()

    def close(self) -> None:
        """End all workers; the next to enter starts new ones."""
        self._process = os.getpid()
        self._local = threading.local()
