"""Routes that turn texts and conversations to token ids and back, without an answer."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from sala_compile.runtime.serving.http.api_error import refused
from sala_compile.runtime.serving.http.chat_request import prepared_chat
from sala_compile.runtime.serving.http.json_bodies import body_schema, parse_body, read_body
from sala_compile.runtime.serving.http.prompt_ids import checked_ids, encoded
from sala_compile.runtime.serving.http.reply_parts import json_bytes
from sala_compile.runtime.serving.http.request_fields import ConversationFields, Id, RequestFields
from sala_compile.runtime.serving.http.served_model import ServedModel


class TokenizeFields(ConversationFields):
    """A text, as `prompt` or `content`, or a conversation."""

    messages: list[dict[str, Any]] | None = None  # type: ignore[assignment]
    prompt: str | None = None
    content: str | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeFields(RequestFields):
    """Token ids."""

    tokens: Annotated[list[Id], Field(max_length=1 << 22)]


def text_routes(served: ServedModel) -> APIRouter:
    """The routes for a model."""
    router = APIRouter()

    @router.post("/tokenize", openapi_extra=body_schema(TokenizeFields))
    async def tokenize(request: Request) -> Response:
        """The token ids of a text, or of a conversation."""
        body = await read_body(request)
        return _json(await served.work(lambda: _tokenized(served, body)))

    @router.post("/detokenize", openapi_extra=body_schema(DetokenizeFields))
    async def detokenize(request: Request) -> Response:
        """The text of token ids."""
        body = await read_body(request)
        return _json(await served.work(lambda: _text(served, body)))

    @router.post("/apply-template", openapi_extra=body_schema(ConversationFields))
    async def apply_template(request: Request) -> Response:
        """The text that a conversation becomes for the model."""
        body = await read_body(request)
        return _json(await served.work(lambda: _rendered(served, body)))

    @router.get("/tokenizer_info")
    async def tokenizer_info() -> dict[str, Any]:
        """The special tokens and the template, for clients that use the two routes above."""
        return dict(served.template_facts) | {"model_max_length": served.context}

    return router


def _tokenized(served: ServedModel, body: bytes) -> bytes:
    fields = parse_body(TokenizeFields, body)
    served.require_name(fields.model)
    given = [
        name for name in ("prompt", "content", "messages") if getattr(fields, name) is not None
    ]
    if len(given) != 1:
        raise refused("prompt", "give one of prompt, content and messages")
    if fields.messages is not None:
        ids = prepared_chat(served, fields).prompt.tolist()
    else:
        text = fields.prompt if fields.content is None else fields.content
        ids = encoded(served, text or "", given[0], special=fields.add_special_tokens is not False)
    found: dict[str, Any] = {"count": len(ids), "max_model_len": served.context, "tokens": ids}
    if fields.return_token_strs:
        core = served.tokenizer.core
        found["token_strs"] = [core.id_to_token(token) for token in ids]
    return json_bytes(found)


def _text(served: ServedModel, body: bytes) -> bytes:
    fields = parse_body(DetokenizeFields, body)
    served.require_name(fields.model)
    text = ""
    if fields.tokens:
        text = served.tokenizer.decode(checked_ids(served, fields.tokens, "tokens").tolist())
    return json_bytes({"prompt": text, "content": text})


def _rendered(served: ServedModel, body: bytes) -> bytes:
    fields = parse_body(ConversationFields, body)
    served.require_name(fields.model)
    return json_bytes({"prompt": prepared_chat(served, fields).text})


def _json(data: bytes) -> Response:
    return Response(data, media_type="application/json")
