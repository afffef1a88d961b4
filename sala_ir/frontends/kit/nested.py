"""Configs of models that also see: the fields of the text are in a table of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sala_compile.runtime.common.json_text import is_object, quoted
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.field_rules import NO_EFFECT, OBJECT, FieldRules
from sala_compile.sala_ir.frontends.kit.fields import config_error

TEXT = "text_config"

NESTED_FIELDS: FieldRules = {
    TEXT: OBJECT,
    "vision_config": NO_EFFECT,
    **dict.fromkeys(
        (
            f"{kind}{part}_token_id"
            for kind in ("image", "video")
            for part in ("", "_start", "_end")
        ),
        NO_EFFECT,
    ),
}
"""Fields of the outer table; what is seen is not supported, and its tensors are not read."""


def text_fields(raw: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The fields as one table; those of the text come before others of the same name.

    Raises `ConfigError` where both tables say whether the head is tied, and disagree.
    """
    text = raw.get(TEXT)
    if not is_object(text):
        return dict(raw)
    tied, name = raw.get("tie_word_embeddings"), "tie_word_embeddings"
    if tied is not None and text.get(name, tied) not in (None, tied):
        expected = f"the same as {name} outside of it, {quoted(tied)}"
        raise config_error(file, f"{TEXT}.{name}", text[name], expected, "correct one of the two")
    outer = {key: value for key, value in raw.items() if key != TEXT}
    inner = {key: value for key, value in text.items() if key != "model_type"}
    if inner.get(name) is None:
        inner.pop(name, None)
    return outer | inner


@contextmanager
def placed(raw: Mapping[str, Any], file: str) -> Iterator[None]:
    """Errors on a field of the text say in which table it is."""
    try:
        yield
    except ConfigError as error:
        text, field = raw.get(TEXT), (error.where or "").removeprefix(f"{file}: ")
        if is_object(text) and (field.split(".")[0] in text or field not in raw):
            error.where = f"{file}: {TEXT}.{field}"
        raise
