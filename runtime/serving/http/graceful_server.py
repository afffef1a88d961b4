"""Runs the application until a signal, and ends without cutting off what is being answered."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from anyio import to_thread
from sse_starlette.sse import AppStatus
from starlette.types import ASGIApp
from uvicorn import Config, Server

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.http.bounded_connection import BoundedConnection

BACKLOG = 4096
_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than proxies keep one by default."""
_LAST_SECONDS = 5.0
"""For the last bytes of replies, after the grace time."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

AppStatus.disable_automatic_graceful_drain()  # a stream ends when its answer does


class Drained(Protocol):
    """What the server waits for at its end."""

    def drain(self, grace: float) -> bool:
        """Take no more jobs, and wait up to `grace` seconds; whether all have ended."""
        ...

    def stop(self, grace: float = 0.0) -> None:
        """End what is left."""
        ...


class GracefulServer(Server):
    """uvicorn's server whose signals end it well: the process goes on to exit with code 0.

    A first signal lets running answers end within `grace` seconds; a second one ends them.
    """

    def __init__(
        self,
        app: ASGIApp,
        engine: Drained,
        grace: float,
        connection: type[BoundedConnection] = BoundedConnection,
    ) -> None:
        config = Config(
            app,
            http=connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=int(grace + _LAST_SECONDS) + 1,
        )
        super().__init__(config)
        self._engine = engine
        self._grace = grace

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals while the server runs; none is raised again at its end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections and jobs, let those that are there end."""
        draining = asyncio.ensure_future(self._drain())
        await super().shutdown(sockets)
        await draining

    async def _drain(self) -> None:
        end = asyncio.get_running_loop().time() + self._grace
        while not await to_thread.run_sync(self._engine.drain, 0.1):
            if self.force_exit or asyncio.get_running_loop().time() > end:
                break
        await to_thread.run_sync(self._engine.stop, 0.0)


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets at every address of `host`, which do not listen yet; RequestError if taken.

    With port 0 the system chooses one.
    """
    bound: list[socket.socket] = []
    try:
        for family, _, _, _, address in _addresses(host, port):
            made = socket.socket(family, socket.SOCK_STREAM)
            bound.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((address[0], port, *address[2:]))
            port = made.getsockname()[1]
    except OSError as error:
        close_all(bound)
        raise RequestError(
            f"the port {port} of {host} cannot be opened: {error.strerror or error}",
            where="--host and --port",
            expected="an address of this machine, and a free port",
            fix="choose another port, or 0 for any free one",
        ) from None
    return bound


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close sockets."""
    for each in sockets:
        each.close()


def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    unique = {(each[0], each[4]): each for each in found}
    return list(unique.values())  # type: ignore[arg-type]
