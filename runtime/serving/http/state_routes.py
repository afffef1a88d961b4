"""/v1/states: beginnings of conversations and texts that are read once and kept under a name."""

import threading
from collections.abc import Callable
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import Field

from sala_compile.runtime.serving.http.answer_routes import while_there
from sala_compile.runtime.serving.http.api_error import refused
from sala_compile.runtime.serving.http.chat_request import prepared_chat
from sala_compile.runtime.serving.http.json_bodies import body_schema, parse_body, read_body
from sala_compile.runtime.serving.http.key_gate import CLIENT
from sala_compile.runtime.serving.http.prompt_ids import prompts_of
from sala_compile.runtime.serving.http.reply_parts import json_bytes
from sala_compile.runtime.serving.http.request_fields import ConversationFields, Document, Prompt
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.http.state_access import known_state, refusing, states_of
from sala_compile.runtime.serving.kept.named_state import NamedState, checked_id
from sala_compile.runtime.serving.kept.saved_states import SavedStates

_AT_A_TIME = 2
"""States that are made at a time; each waits for the engine in a thread of its own."""


class StateFields(ConversationFields):
    """A state to be: the beginning of a conversation (`messages`) or of a text (`prompt`)."""

    id: Annotated[str, Field(max_length=1024)]
    messages: Annotated[list[Document], Field(min_length=1)] | None = None  # type: ignore[assignment]
    prompt: Prompt = None


def state_routes(served: ServedModel) -> APIRouter:
    """The routes for a model."""
    router = APIRouter()
    places = anyio.CapacityLimiter(_AT_A_TIME)

    @router.post("/v1/states", openapi_extra=body_schema(StateFields))
    async def create(request: Request) -> Response:
        """Read a beginning and keep its state; one of the same id is replaced."""
        body, client = await read_body(request), request.scope[CLIENT]

        async def make() -> Response:
            gone = threading.Event()
            try:
                return _json(
                    await to_thread.run_sync(
                        lambda: _created(served, body, client, gone.is_set), limiter=places
                    )
                )
            finally:
                gone.set()

        return await while_there(request, make())

    @router.get("/v1/states")
    async def every() -> Response:
        """The states, the oldest first."""
        states = states_of(served)
        found = await served.work(lambda: [_document(states, each) for each in states.all()])
        return _json({"object": "list", "data": found})

    @router.get("/v1/states/{name:path}")
    async def one(name: str) -> Response:
        """The state of that id."""
        states = states_of(served)
        return _json(await served.work(lambda: _document(states, known_state(served, name))))

    @router.delete("/v1/states/{name:path}")
    async def delete(name: str) -> Response:
        """Remove a state."""
        states = states_of(served)
        await served.work(lambda: refusing(lambda: states.delete(name)))
        return _json({"id": name, "object": "state", "deleted": True})

    return router


def _created(
    served: ServedModel, body: bytes, client: str, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    states = states_of(served)
    fields = parse_body(StateFields, body)
    served.require_name(fields.model)
    name = refusing(lambda: checked_id(fields.id))
    if (fields.messages is None) == (fields.prompt is None):
        raise refused("messages", "give one of messages and prompt")
    if fields.messages is not None:
        fields.add_generation_prompt = False
        ids = prepared_chat(served, fields).prompt
    else:
        (prompt, *others) = prompts_of(served, fields.prompt)
        if others:
            raise refused("prompt", "a state is of one prompt")
        ids = prompt.ids
    given: dict[str, Any] = {"messages": fields.messages, "prompt": fields.prompt}
    return _document(
        states,
        refusing(lambda: states.create(name, ids, client=client, cancelled=cancelled, **given)),
    )


def _document(states: SavedStates, state: NamedState) -> dict[str, Any]:
    return {
        "id": state.id,
        "object": "state",
        "created": state.created,
        "tokens": len(state.ids),
        "bytes": states.size(state),
    }


def _json(document: dict[str, Any]) -> Response:
    return Response(json_bytes(document), media_type="application/json")
