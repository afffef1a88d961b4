"""A state that has a name: the text that it is the state of, and its file."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, NonNegativeInt, ValidationError, field_validator

from sala_compile.runtime.artifact.format_model import Frozen, canonical_document
from sala_compile.runtime.artifact.replace import write_whole
from sala_compile.runtime.common.files import FileRule
from sala_compile.runtime.errors import RequestError, StateFileError
from sala_compile.runtime.serving.kept.kept_file import PRIVATE

LONGEST_ID = 128
RECORD_SUFFIX = ".json"
_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:-]{{0,{LONGEST_ID - 1}}}")
_RECORD = FileRule(what="the saved state", limit=256 << 20, error=StateFileError)


class UnknownState(RequestError):
    """There is no state of that id."""


class NamedState(Frozen):
    """A saved beginning of conversations (`messages`) or of texts (`prompt`, text or ids).

    `model` is the digest of the checkpoint, `created` in seconds, `tokens` are the ids that the
    beginning is read as, `kept` the name of the file with the state, empty for a text too short
    for one.
    """

    id: str
    model: str
    created: NonNegativeInt
    messages: list[dict[str, Any]] | None = None
    prompt: str | list[int] | None = None
    tokens: str = Field(repr=False)
    kept: str = ""

    @field_validator("tokens")
    @classmethod
    def _whole(cls, tokens: str) -> str:
        if len(base64.b64decode(tokens, validate=True)) % 4:
            raise ValueError("not whole numbers of four bytes")
        return tokens

    @property
    def ids(self) -> np.ndarray:
        """The token ids, int32 [tokens]."""
        return np.frombuffer(base64.b64decode(self.tokens), "<i4").astype(np.int32)

    def light(self) -> "NamedState":
        """The state without what may be large: its text is in its record."""
        return self.model_copy(update={"messages": None, "prompt": None})

    def conversation(self, more: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages of the state with those that follow; RequestError if it is of a text."""
        if self.messages is None:
            raise _mismatch(self.id, "a text", "/v1/completions with a prompt")
        return [*self.messages, *more]

    def text(self, more: str | Sequence[int]) -> str | list[int]:
        """The prompt of the state with what follows: a text after a text, ids after ids.

        RequestError for anything else.
        """
        if self.prompt is None:
            raise _mismatch(self.id, "a conversation", "/v1/chat/completions with messages")
        if isinstance(self.prompt, str) and isinstance(more, str):
            return self.prompt + more
        if not isinstance(self.prompt, str) and not isinstance(more, str):
            return [*self.prompt, *more]
        kind = "a text" if isinstance(self.prompt, str) else "token ids"
        raise _mismatch(self.id, kind, f"{kind} that follow")

    def require_beginning(self, ids: np.ndarray) -> None:
        """RequestError unless `ids`, the prompt of a request, begin with those of the state."""
        own = self.ids
        same = own[: len(ids)] == ids[: len(own)]
        if same.all() and len(own) < len(ids):
            return
        at = len(same) if same.all() else int(np.argmin(same))
        found = "is another one" if at < len(same) else "is the last one of the prompt or beyond"
        raise RequestError(
            f"the prompt does not continue the state {self.id!r} of {len(own)} tokens: "
            f"token {at} {found}",
            where="state_id",
            expected="a text whose tokens begin with those of the state, and go on",
            fix="end the state where no token goes across, such as after a line, or save it again",
        )


def checked_id(name: object) -> str:
    """The id of a state; RequestError for one that is none."""
    if isinstance(name, str) and _ID.fullmatch(name):
        return name
    raise RequestError(
        "the id of a state is not valid",
        where="id",
        expected=f"1 to {LONGEST_ID} letters, digits, or . _ : -, a letter or digit first",
    )


def record_name(model: str, name: str) -> str:
    """The name of the file of a state: no part of an id is in it."""
    digest = hashlib.blake2b(f"{model} {name}".encode(), digest_size=16).hexdigest()
    return f"{digest}{RECORD_SUFFIX}"


def encoded_ids(ids: np.ndarray) -> str:
    """Token ids as a record has them."""
    return base64.b64encode(ids.astype("<i4").tobytes()).decode()


def write_record(path: Path, state: NamedState) -> None:
    """Write the record durably; raises OSError."""
    write_whole(path, record_bytes(state), PRIVATE)


def record_bytes(state: NamedState) -> bytes:
    """What the file of a state holds."""
    body = state.model_dump(mode="json")
    digest = hashlib.sha256(canonical_document(body)).hexdigest()
    return json.dumps({"sha256": digest, "state": body}).encode()


def read_record(path: Path) -> NamedState:
    """The record in a file; StateFileError if there is none, or it is damaged."""
    return parsed_record(_RECORD.read(path), str(path))


def parsed_record(data: bytes, where: str) -> NamedState:
    """The record that a file holds; StateFileError if it is damaged."""
    try:
        document = json.loads(data)
        body = document["state"]
        if hashlib.sha256(canonical_document(body)).hexdigest() != document["sha256"]:
            raise ValueError("the checksum does not match")
        return NamedState.model_validate(body)
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError) as problem:
        raise StateFileError(
            f"the saved state is damaged: {type(problem).__name__}",
            where=where,
            fix="save the state again",
        ) from None


def _mismatch(name: str, kind: str, expected: str) -> RequestError:
    return RequestError(f"the state {name!r} is of {kind}", where="state_id", expected=expected)
