"""The routes that answer: chats and completions, whole or as streams."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from sala_compile.runtime.serving.answers.answer_delta import AnswerDelta
from sala_compile.runtime.serving.http.api_error import ApiError
from sala_compile.runtime.serving.http.chat_request import ChatRequest
from sala_compile.runtime.serving.http.completion_request import CompletionRequest
from sala_compile.runtime.serving.http.event_post import EventBox, EventPost
from sala_compile.runtime.serving.http.exchange import AnswerChoice, Exchange
from sala_compile.runtime.serving.http.json_bodies import body_schema, read_body
from sala_compile.runtime.serving.http.key_gate import CLIENT
from sala_compile.runtime.serving.http.reply_parts import DONE, event, json_bytes
from sala_compile.runtime.serving.http.request_fields import (
    AnswerFields,
    ChatFields,
    CompletionFields,
)
from sala_compile.runtime.serving.http.request_log import note
from sala_compile.runtime.serving.http.served_model import ServedModel, fresh_id
from sala_compile.runtime.serving.http.stream_lines import ReplyExtras

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)
_SETTLE_SECONDS = 1.0
"""How long a stream waits for the first news, so that an error is a plain one."""
PING_SECONDS = 15
SEND_SECONDS = 120.0
"""A reader that takes nothing for so long has left."""


class _Whole(Protocol):
    def add(self, choice: AnswerChoice, delta: AnswerDelta) -> None: ...

    def document(self, exchange: Exchange) -> dict[str, Any]: ...


class _Chunks(Protocol):
    def chunks(self, choice: AnswerChoice, delta: AnswerDelta) -> Iterator[bytes]: ...

    def usage(self) -> bytes: ...


class _Request(Protocol):
    kind: str
    choices: list[AnswerChoice]
    extras: ReplyExtras

    @property
    def fields(self) -> AnswerFields: ...

    def whole(self) -> _Whole: ...

    def chunks(self, exchange: Exchange) -> _Chunks: ...


def answer_routes(served: ServedModel) -> APIRouter:
    """The routes for a model."""
    router = APIRouter()
    posts: dict[asyncio.AbstractEventLoop, EventPost] = {}

    def post() -> EventPost:
        loop = asyncio.get_running_loop()
        if loop not in posts:
            posts[loop] = EventPost(loop)
            served.engine.after_turns(posts[loop].send)
        return posts[loop]

    @router.post("/v1/chat/completions", openapi_extra=body_schema(ChatFields))
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await _reply(request, served, post(), ChatRequest)

    @router.post("/v1/completions", openapi_extra=body_schema(CompletionFields))
    async def completions(request: Request) -> Response:
        """Continue a text, or token ids, or several of them."""
        return await _reply(request, served, post(), CompletionRequest)

    return router


async def _reply(
    request: Request,
    served: ServedModel,
    post: EventPost,
    read: Callable[[ServedModel, bytes], _Request],
) -> Response:
    body = await read_body(request)

    async def begin() -> Response:
        asked = await served.work(lambda: read(served, body))
        exchange = Exchange(served, fresh_id(asked.kind), asked.choices, EventBox(post))
        exchange.submit(request.scope[CLIENT])
        note(request.scope, exchange.summary)
        try:
            if not asked.fields.stream:
                return await _whole(exchange, asked.whole())
            await exchange.settle(_SETTLE_SECONDS)
            return AnswerStream(exchange, asked.chunks(exchange), asked.extras.usage)
        except BaseException:
            exchange.cancel()
            raise

    return await while_there(request, begin())


async def _whole(exchange: Exchange, whole: _Whole) -> Response:
    while not exchange.over:
        for choice, delta in await exchange.news():
            whole.add(choice, delta)
    data = await exchange.served.work(lambda: json_bytes(whole.document(exchange)))
    return Response(data, media_type="application/json")


class AnswerStream(EventSourceResponse):
    """The reply as a stream; whatever ends it ends the jobs."""

    def __init__(self, exchange: Exchange, chunks: _Chunks, usage: bool) -> None:
        """With `usage`, the last chunk has it."""
        self._exchange = exchange
        self._sent = self._lines(exchange, chunks, usage)
        super().__init__(self._sent, ping=PING_SECONDS, sep="\n", send_timeout=SEND_SECONDS)

    async def _stream_response(self, send: Send) -> None:
        """Send what comes; how long a message takes is watched by the pings alone.

        They wait for the same room in the connection, and a timer for each message takes longer
        than the rest.
        """
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        async for lines in self._sent:
            await send({"type": "http.response.body", "body": lines, "more_body": True})
        async with self._send_lock:
            self.active = False
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            _LOG.warning("a client does not read its stream: %s", self._exchange.id)
        finally:
            self._exchange.cancel()

    @staticmethod
    async def _lines(exchange: Exchange, chunks: _Chunks, usage: bool) -> AsyncIterator[bytes]:
        """All the lines that there are at a time."""
        try:
            while True:
                news = await exchange.news()
                lines = [line for choice, delta in news for line in chunks.chunks(choice, delta)]
                if exchange.over:
                    break
                if lines:
                    yield b"".join(lines)
        except ApiError as error:
            yield event(error.body())
            return
        yield b"".join([*lines, chunks.usage() if usage else b"", DONE])


async def while_there(request: Request, work: Coroutine[Any, Any, Result]) -> Result | Response:
    """The result of `work`, which is cancelled if the client leaves."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_leaving(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        note(request.scope, lambda: "the client left")
        return Response(status_code=499)
    finally:
        for each in (task, leaving):
            each.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
