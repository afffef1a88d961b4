"""A connection that has to say what it wants in a bounded time, and in bounded bytes."""

import asyncio
import json
from typing import cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from sala_compile.runtime.serving.http.api_error import ApiError, busy
from sala_compile.runtime.serving.http.gathered_transport import GatheredTransport
from sala_compile.runtime.serving.http.request_limits import LIMITS, RequestLimits


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection with what it lacks: limits on the time and the size of headers.

    The clock runs from the connection's begin to the end of the first headers, and while bytes
    come that belong to no request which is being answered: further headers, or the rest of a body
    that nobody reads. Beyond `connections` a new one gets a 503.
    """

    limits: RequestLimits = LIMITS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, with the clock; or refuse one connection too many."""
        self._clock: asyncio.TimerHandle | None = None
        self._in_headers, self._begun = True, False
        self._header_bytes = 0
        gathered = cast("asyncio.Transport", GatheredTransport(transport, self.loop))
        super().connection_made(gathered)
        if len(self.connections) > self.limits.connections:
            self._refuse(busy("too many connections are open"))
            return
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self.transport.is_closing():
            return
        if self._between_requests():
            self._start_clock()
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._header_bytes > self.limits.header_bytes:
            size = self.limits.header_bytes >> 10
            self._refuse(ApiError(431, f"the headers are longer than {size} KiB"))

    def on_message_begin(self) -> None:
        """Begin the headers of a request."""
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        self._stop_clock()
        self._in_headers = self._begun = False
        self._header_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the body."""
        self._in_headers = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, whose first bytes may be there."""
        super().on_response_complete()
        if self._begun and self._between_requests():
            self._start_clock()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(ApiError(400, msg))

    def _between_requests(self) -> bool:
        """Whether no request is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return cycle is None or cycle.response_complete

    def _start_clock(self) -> None:
        if self._clock is None:
            self._clock = self.loop.call_later(self.limits.header_seconds, self._late)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        seconds = self.limits.header_seconds
        self._refuse(ApiError(408, f"the headers did not arrive within {seconds:g} s"))

    def _refuse(self, error: ApiError) -> None:
        """Close: with an answer, unless it could be taken for the one to an earlier request."""
        if self.transport.is_closing():
            return
        if self._between_requests() and self._in_headers:
            self.transport.write(_answer(error))
        self.transport.close()


def _answer(error: ApiError) -> bytes:
    """A whole HTTP response."""
    body = json.dumps(error.body()).encode()
    fields = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **error.headers,
    }
    lines = [f"{name}: {value}\r\n".encode() for name, value in fields.items()]
    return b"".join([STATUS_LINE[error.status], *lines, b"\r\n", body])
