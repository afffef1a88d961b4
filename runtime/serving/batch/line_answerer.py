"""Answers the requests of a batch with a model of this process, by the routes of the server."""

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from typing import Any

from starlette.types import ASGIApp, Message

from sala_compile.runtime.serving.batch.batch_lines import BatchLine
from sala_compile.runtime.serving.http.application import Guards, application
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.opened_engine import opened_engine

_WAIT_SECONDS = 0.5
"""After a refusal for want of room; there is room again when others end."""
_FULL = (429, 503)


class LineAnswerer:
    """A loaded model and its routes, for one thread that reads the answers."""

    def __init__(self, artifact: Path, options: Mapping[str, Any], model_name: str | None) -> None:
        """Load the artifact with the options of sala-serve, by their names; errors of `load`."""
        self._undo = ExitStack()
        opened = self._undo.enter_context(opened_engine(artifact, options))
        served = ServedModel.of(opened.model, opened.thread, model_name, states=opened.states)
        self._undo.callback(served.close)
        self.name = served.name
        self.fingerprint = served.fingerprint
        self._app = application(served, Guards())
        self._at_a_time = min(4 * options["batch"], options["queue"])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="batch", daemon=True)
        opened.thread.start()
        self._thread.start()

    def close(self) -> None:
        """End the engine and what runs on it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._undo.close()

    def answers(self, lines: Iterable[BatchLine]) -> Iterator[dict[str, Any]]:
        """A line for each request, as they are done; a few more are read than run at a time."""
        done: Queue[dict[str, Any]] = Queue()
        waiting, running = iter(lines), set[Any]()

        def begin(line: BatchLine) -> None:
            future = asyncio.run_coroutine_threadsafe(self._answer(line), self._loop)
            running.add(future)
            future.add_done_callback(lambda each: None if each.cancelled() else _put(each, line))

        def _put(future: Any, line: BatchLine) -> None:
            error = future.exception()
            done.put(future.result() if error is None else line.failed("failed", repr(error)))

        count = 0
        try:
            while True:
                while count < self._at_a_time and (line := next(waiting, None)) is not None:
                    begin(line)
                    count += 1
                if not count:
                    return
                yield done.get()
                count -= 1
                running = {each for each in running if not each.done()}
        finally:
            for each in running:
                each.cancel()

    async def _answer(self, line: BatchLine) -> dict[str, Any]:
        if line.problem is not None:
            return line.failed("invalid_line", line.problem)
        while True:
            status, data = await _ask(self._app, line.url, line.body)
            if status not in _FULL:
                return line.answered(status, json.loads(data))
            await asyncio.sleep(_WAIT_SECONDS)


async def _ask(app: ASGIApp, path: str, body: bytes) -> tuple[int, bytes]:
    """The status and the body that an application answers a POST of JSON with."""
    given = [body]
    status, parts = 0, list[bytes]()

    async def receive() -> Message:
        if given:
            return {"type": "http.request", "body": given.pop(), "more_body": False}
        await asyncio.Event().wait()  # nobody leaves
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {
        **{"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "POST"},
        **{"http_version": "1.1", "scheme": "http", "path": path, "raw_path": path.encode()},
        **{"root_path": "", "query_string": b"", "headers": headers, "state": {}},
        **{"client": ("batch", 0), "server": ("batch", 80)},
    }
    await app(scope, receive, send)
    return status, b"".join(parts)
