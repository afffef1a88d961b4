"""How much a request may send, and how long it may take: refused before and while it is read."""

import time

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sala_compile.runtime.serving.http.api_error import ApiError, busy
from sala_compile.runtime.serving.http.request_limits import RequestLimits


class BodyGate:
    """An ASGI application before another, whose bodies and requests it bounds.

    What a body takes counts until its request is answered. ApiError comes out of `receive` for
    one that is too large or too slow.
    """

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app = app
        self._limits = limits
        self.held = 0
        """Bytes of bodies that are in memory."""
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = self._refusal(Headers(scope=scope))
        if error is not None:
            await error.response()(scope, receive, send)
            return
        body = _Body(self, self._limits, receive)
        self.requests += 1
        try:
            await self._app(scope, body.receive, send)
        finally:
            self.requests -= 1
            self.held -= body.size

    def _refusal(self, headers: Headers) -> ApiError | None:
        if self.requests >= self._limits.requests:
            return busy(f"{self.requests} requests are being answered, more than that wait")
        text = headers.get("content-length", "0")
        size = int(text) if text.isdecimal() else 0
        if size > self._limits.body_bytes:
            return too_large(self._limits.body_bytes)
        return self.full if self.held + size > self._limits.held_bytes else None

    @property
    def full(self) -> ApiError:
        """The refusal while other bodies take all the memory that bodies may."""
        return busy("the bodies of other requests take all memory for bodies")


class _Body:
    """The body of one request as it comes."""

    def __init__(self, gate: BodyGate, limits: RequestLimits, receive: Receive) -> None:
        self.size = 0
        self._gate = gate
        self._limits = limits
        self._receive = receive
        self._end = time.monotonic() + limits.body_seconds
        self._complete = False

    async def receive(self) -> Message:
        """The next message; after the last part of the body, when the client is gone."""
        if self._complete:
            return await self._receive()
        try:
            with anyio.fail_after(max(0.0, self._end - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            seconds = self._limits.body_seconds
            message = f"the body did not arrive within {seconds:g} s"
            raise ApiError(408, message, headers={"Connection": "close"}) from None
        self._complete = not message.get("more_body", False)
        size = len(message.get("body", b""))
        self.size += size
        self._gate.held += size
        if self.size > self._limits.body_bytes:
            raise too_large(self._limits.body_bytes)
        if self._gate.held > self._limits.held_bytes:
            raise self._gate.full
        return message


def too_large(limit: int) -> ApiError:
    """The refusal of a body beyond the limit."""
    return ApiError(413, f"the body is larger than {limit >> 20} MiB", None, "body_too_large")
