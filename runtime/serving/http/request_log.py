"""One line in the log for each request; no text of a prompt or an answer is in it."""

import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sala_compile.runtime.serving.http.key_gate import CLIENT

LOG = logging.getLogger("sala_compile.serve")
_NOTE = "sala.note"
_LONGEST_PATH = 200
_QUIET = frozenset({"/health", "/ready", "/metrics"})
"""What is asked every few seconds; logged where it fails."""


class RequestLog:
    """An ASGI application around another, which notes what became of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note it when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if scope["path"] not in _QUIET or status >= 400:
                _write(scope, status, time.perf_counter() - began)


def note(scope: Scope, text: Callable[[], str]) -> None:
    """Add a text to the line of a request, made when the line is written."""
    scope[_NOTE] = text


def _write(scope: Scope, status: int, seconds: float) -> None:
    make: Callable[[], str] | None = scope.get(_NOTE)
    path = repr(scope["path"][:_LONGEST_PATH])[1:-1]
    text = f", {make()}" if make is not None else ""
    client = scope.get(CLIENT, "")
    LOG.info(
        "%s %s %s in %.3f s for %s%s", scope["method"], path, status or "-", seconds, client, text
    )
