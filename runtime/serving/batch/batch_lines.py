"""Lines of OpenAI's batch format: what they ask, and what their answers are written as."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sala_compile.runtime.common.files import FileRule
from sala_compile.runtime.common.json_text import is_object, json_kind
from sala_compile.runtime.errors import RequestError

URLS = ("/v1/chat/completions", "/v1/completions")
_INPUT = FileRule(what="the file of requests")
_LINE = 64 << 20


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A request of the file: `body` for `url`; `problem` says why it is none."""

    number: int
    custom_id: str
    url: str = ""
    body: bytes = b""
    problem: str | None = None

    @staticmethod
    def of(text: str, number: int) -> "BatchLine":
        """The request of a line, `number` from 1 on; one without an id is named by its number."""
        unnamed = f"line-{number}"
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            return BatchLine(number, unnamed, problem=f"line {number} is not JSON: {error}")
        if not is_object(found):
            problem = f"line {number} is {json_kind(found)}, expected an object"
            return BatchLine(number, unnamed, problem=problem)
        custom = found.get("custom_id")
        if not isinstance(custom, str) or not custom:
            return BatchLine(number, unnamed, problem=f"line {number} has no custom_id")
        problem = _problem(found)
        if problem is not None:
            return BatchLine(number, custom, problem=problem)
        body = json.dumps(found["body"]).encode()
        return BatchLine(number, custom, found["url"], body)

    def answered(self, status: int, body: Any) -> dict[str, Any]:
        """The line of an answer, or of an error that the API gives."""
        request = body.get("id") if is_object(body) else None
        response = {"status_code": status, "request_id": request or self._id, "body": body}
        return {"id": self._id, "custom_id": self.custom_id, "response": response, "error": None}

    def failed(self, code: str, message: str) -> dict[str, Any]:
        """The line of a request that did not come to the API."""
        error = {"code": code, "message": message}
        return {"id": self._id, "custom_id": self.custom_id, "response": None, "error": error}

    @property
    def _id(self) -> str:
        return f"batch_req_{hashlib.sha256(self.custom_id.encode()).hexdigest()[:24]}"


def _problem(found: dict[str, Any]) -> str | None:
    """What keeps an object from being a request."""
    if found.get("method") != "POST":
        return "method is not POST"
    if found.get("url") not in URLS:
        return f"url is {str(found.get('url'))[:80]!r}, expected one of {', '.join(URLS)}"
    body: Any = found.get("body")
    if not is_object(body):
        return f"body is {json_kind(body)}, expected an object"
    return "stream is not for batches" if body.get("stream") else None


def batch_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not empty, with their numbers.

    RequestError for a file that is none, for bytes that are not UTF-8, and for a line that is
    longer than 64 MiB.
    """
    with _INPUT.open(path) as file:
        number = 0
        while data := file.readline(_LINE + 1):
            number += 1
            if len(data) > _LINE:
                raise RequestError(
                    f"line {number} has more than {_LINE} bytes", str(path), "shorter lines"
                )
            try:
                text = data.decode().strip()
            except UnicodeDecodeError as error:
                raise RequestError(
                    f"line {number} is not UTF-8: {error.reason}", str(path), "a file in UTF-8"
                ) from None
            if text:
                yield number, text


def check_ids(path: Path) -> tuple[int, str]:
    """How many requests a file has, and its digest; RequestError if two have one id."""
    seen: dict[bytes, int] = {}
    digest = hashlib.sha256()
    for number, text in batch_lines(path):
        digest.update(text.encode() + b"\n")
        custom = BatchLine.of(text, number).custom_id
        key = hashlib.blake2b(custom.encode(), digest_size=16).digest()
        if key in seen:
            raise RequestError(
                f"lines {seen[key]} and {number} have the same custom_id {custom[:80]!r}",
                where=str(path),
                expected="an id of its own for each request, by which its answer is found",
            )
        seen[key] = number
    return len(seen), digest.hexdigest()
