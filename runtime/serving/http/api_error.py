"""Errors as OpenAI's clients know them: a status and `{"error": {message, type, param, code}}`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

from sala_compile.runtime.errors import DeviceError, MemoryBudgetError, RequestError, SalaError
from sala_compile.runtime.serving.work.refusals import (
    NeverFits,
    QueueFull,
    ReplicaLost,
    ServerFailed,
    ServerStopping,
)

INVALID = "invalid_request_error"
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_RETRY_SECONDS = 1
_FIELD = re.compile(r"[a-z_]+(\[\d+\])?(\.[\w$]+(\[\d+\])?)*")


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal with its HTTP status; `param` names the field of the request that is at fault."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def kind(self) -> str:
        """The `type` that clients choose their exception by, next to the status."""
        if self.status >= 500:
            return "server_error"
        return _TYPES.get(self.status, INVALID)

    def body(self) -> dict[str, Any]:
        """The JSON document."""
        found = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": found}

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body(), self.status, dict(self.headers))


def refused(param: str | None, message: str, code: str | None = None) -> ApiError:
    """A 400 that names the field."""
    return ApiError(400, message, param, code)


def unsupported(param: str, hint: str = "") -> ApiError:
    """The refusal of a field that has a meaning elsewhere and none here."""
    message = f"{param} is not supported by this server"
    return refused(param, f"{message}: {hint}" if hint else message, "unsupported_parameter")


def too_long(tokens: int, context: int, param: str) -> ApiError:
    """The refusal of a prompt beyond the context, in the words that clients look for."""
    return refused(
        param,
        f"This model's maximum context length is {context} tokens. However, your prompt has "
        f"{tokens} tokens or more. Please shorten it.",
        "context_length_exceeded",
    )


def busy(message: str, status: int = 503, seconds: float = _RETRY_SECONDS) -> ApiError:
    """A refusal that holds for now: 429 if the client has too much here, 503 otherwise."""
    code = "rate_limit_exceeded" if status == 429 else "overloaded"
    return ApiError(status, message, None, code, {"Retry-After": str(max(1, round(seconds)))})


def of_sala_error(error: SalaError) -> ApiError:
    """The answer to an error of the runtime: a client's mistake is a 400, ours a 500.

    Where the error names a file or a device, its message stays in the log.
    """
    match error:
        case NeverFits():
            return refused(None, error.found, "context_length_exceeded")
        case ReplicaLost():
            return busy("the replica that computed the answer is gone")
        case RequestError():
            return ApiError(400, _sentence(error), _field(error), "invalid_value")
        case QueueFull():
            return busy(_sentence(error), 429, error.retry_after)
        case ServerStopping():
            return busy("the server ends")
        case MemoryBudgetError():
            return busy(_sentence(error))
        case ServerFailed() | DeviceError():
            return ApiError(500, "the device failed while it computed", code="device_failed")
        case _:
            return ApiError(500, "the answer could not be computed", code="internal_error")


def _sentence(error: SalaError) -> str:
    parts = [error.found]
    parts += [f"expected {error.expected}"] if error.expected else []
    return "; ".join(parts)


def _field(error: SalaError) -> str | None:
    """The field that an error is about, if it names one."""
    where = (error.where or "").removeprefix("option ")
    return where if _FIELD.fullmatch(where) else None
