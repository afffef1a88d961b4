"""The whole HTTP application: gates, routes, errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.serving.http.answer_routes import answer_routes
from sala_compile.runtime.serving.http.api_error import ApiError, of_sala_error, refused
from sala_compile.runtime.serving.http.body_gate import BodyGate
from sala_compile.runtime.serving.http.key_gate import KeyGate
from sala_compile.runtime.serving.http.page_files import page_routes, read_page
from sala_compile.runtime.serving.http.request_fields import (
    ChatFields,
    CompletionFields,
    ConversationFields,
)
from sala_compile.runtime.serving.http.request_limits import LIMITS, RequestLimits
from sala_compile.runtime.serving.http.request_log import RequestLog
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.http.state_routes import StateFields, state_routes
from sala_compile.runtime.serving.http.status_routes import status_routes
from sala_compile.runtime.serving.http.text_routes import (
    DetokenizeFields,
    TokenizeFields,
    text_routes,
)

_BODIES = (
    *(ChatFields, CompletionFields, ConversationFields),
    *(TokenizeFields, DetokenizeFields, StateFields),
)
_OPEN = ("/health", "/ready")
_LONGEST = 200
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                **{name: {"type": "string"} for name in ("message", "type")},
                **{name: {"type": ["string", "null"]} for name in ("param", "code")},
            },
        }
    },
}
_REFUSED = {
    "description": "What is wrong",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


@dataclass(frozen=True)
class Guards:
    """Who may ask, and how much: `local_only` as in KeyGate."""

    keys: Sequence[str] = ()
    local_only: bool = False
    limits: RequestLimits = field(default=LIMITS)


def application(served: ServedModel, guards: Guards) -> ASGIApp:
    """The application for a model."""
    page = read_page()
    app = FastAPI(
        title="sala-serve",
        version=version("sala-compile"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            ApiError: _on_api_error,
            SalaError: _on_sala_error,
            HTTPException: _on_http_error,
            RequestValidationError: _on_wrong_field,
            ClientDisconnect: _on_leaving,
            Exception: _on_mistake,
        },
    )
    for routes in (answer_routes, text_routes, state_routes, status_routes):
        app.include_router(routes(served))
    app.include_router(page_routes(page))
    _describe(app)
    gate = KeyGate(
        BodyGate(app, guards.limits),
        keys=guards.keys,
        open_paths=(*_OPEN, *page),
        local_only=guards.local_only,
    )
    return RequestLog(gate)


def _describe(app: FastAPI) -> None:
    """Complete the OpenAPI document: bodies, which routes read on their own, errors, the key."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        _, schemas = models_json_schema(
            [(each, "validation") for each in _BODIES],
            ref_template="#/components/schemas/{model}",
        )
        document["components"] = {
            "schemas": schemas["$defs"] | {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _REFUSED
                operation["security"] = [] if path in _OPEN else [{"key": []}, {}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _on_sala_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, SalaError)
    return of_sala_error(error).response()


async def _on_http_error(request: Request, error: Exception) -> Response:
    """What the routing refuses: no such path, another method."""
    assert isinstance(error, HTTPException)
    path = repr(request.url.path[:_LONGEST])[1:-1]
    messages = {
        404: f"Invalid URL ({request.method} {path})",
        405: f"Not allowed to {request.method} on {path}",
    }
    code = {404: "unknown_url", 405: "method_not_supported"}.get(error.status_code)
    message = messages.get(error.status_code, str(error.detail))
    return ApiError(error.status_code, message, None, code, dict(error.headers or {})).response()


async def _on_wrong_field(_: Request, error: Exception) -> Response:
    """A parameter of an address that has no meaning."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    return refused(str(found["loc"][-1]), found["msg"], "invalid_value").response()


async def _on_leaving(_: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _on_mistake(_: Request, error: Exception) -> Response:
    """A mistake of ours, which the log has."""
    return ApiError(500, "the server made a mistake", code="internal_error").response()
