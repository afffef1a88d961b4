"""The body of a request as the fields that a route takes; every wrong shape is a 400."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from sala_compile.runtime.serving.http.api_error import ApiError, refused

Fields = TypeVar("Fields", bound=BaseModel)
_LONGEST = 300


async def read_body(request: Request) -> bytes:
    """The whole body; ApiError for one that is not said to be plain JSON, or too large or slow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise ApiError(
            415,
            f"the content type is {kind[:_LONGEST] or 'not given'}; expected application/json",
            code="unsupported_media_type",
        )
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ApiError(
            415,
            f"the content encoding is {encoding[:_LONGEST]}; expected an uncompressed body",
            code="unsupported_media_type",
        )
    return await request.body()


def parse_body(fields: type[Fields], body: bytes) -> Fields:
    """The fields of a body; ApiError that names the first one that is wrong."""
    try:
        return fields.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_input=False)[0]) from None


def _refusal(error: ErrorDetails) -> ApiError:
    message = error["msg"][:_LONGEST]
    if error["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {message.removeprefix('Invalid JSON: ')}")
    param = _name(error["loc"])
    if error["type"] == "missing":
        return refused(param, f"you must provide {param}", "missing_required_parameter")
    return refused(
        param or "body", f"Invalid value for {param or 'the body'}: {message}", "invalid_value"
    )


def _name(place: tuple[int | str, ...]) -> str:
    """A place in a document, as `messages[0].content`."""
    name = ""
    for part in place:
        if isinstance(part, int):
            name += f"[{part}]"
        elif "[" in part or "(" in part or part in _KINDS:
            continue  # which member of a union was tried
        else:
            name += f".{part}" if name else part
    return name[:_LONGEST]


_KINDS = {"str", "int", "float", "bool", "dict"}


def body_schema(fields: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI document says of a route whose body has these fields."""
    schema = {"$ref": f"#/components/schemas/{fields.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
