"""Token ids of a text that continues another one."""

import json
from collections.abc import Callable, Iterable, Sequence
from string import ascii_letters
from typing import Any

import tokenizers
from tokenizers import models

from sala_compile.runtime.text.tokenizers.tokenizer_loading import parts_of

_ANCHORS = ("^", r"\A")


class Seam:
    """Encodes tails of texts: as a whole text would be, after ids that stay as they are."""

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        self._core = core
        self._added = core.get_added_tokens_decoder()
        self._opening = core.encode("", add_special_tokens=True).ids
        self._inner = _without_beginning(core)
        self._inner_added = self._inner.get_added_tokens_decoder()
        # WordPiece spells the inside of a word in tokens of its own.
        self._splits_words = isinstance(core.model, models.WordPiece)
        self._marks_words = _marks_words(core.pre_tokenizer)

    def encode(
        self, text: str, before: Sequence[int] | None, decode: Callable[[Sequence[int]], str]
    ) -> list[int]:
        """Ids of `text` after the ids `before`, whose text `decode` returns."""
        if before is None:
            return self._inside(text)
        if len(before) <= len(self._opening) and list(before) == self._opening[: len(before)]:
            return self._ids(self._core, text)
        last = self._added.get(before[-1])
        if last is not None:
            whole = self._ids(self._core, last.content + text)
            return whole[1:] if whole[:1] == [before[-1]] else self._inside(text)
        if self._splits_words and text[:1].isalnum():
            return self._in_word(text, decode(before[-8:])[-1:])
        return self._inside(text)

    def _inside(self, text: str) -> list[int]:
        """Ids of `text` after other text: a segment begins only after its first added token."""
        space = next((place for place, one in enumerate(text) if one.isspace()), None)
        if self._marks_words and space is not None:
            head = self._inside(text[:space]) if space else []
            return head + self._ids(self._core, text[space:])
        found = self._inner.encode(text, add_special_tokens=False)
        for place, (token, (start, end)) in enumerate(zip(found.ids, found.offsets, strict=True)):
            added = self._inner_added.get(token)
            if added is not None and self._plain(text[start:end]) == self._plain(added.content):
                return found.ids[:place] + self._ids(self._core, text[start:])
        return found.ids

    def _in_word(self, text: str, last: str) -> list[int]:
        """Ids of `text` whose first letters continue the word whose last character is `last`."""
        for letter in (last, *ascii_letters) if last.isalnum() else ():
            found = self._inner.encode(letter + text, add_special_tokens=False)
            first = self._core.token_to_id(letter)
            if first is not None and found.ids[:1] == [first] and found.offsets[0] == (0, 1):
                return self._inside(letter + text)[1:]
        return self._inside(text)

    def _plain(self, text: str) -> str:
        normalizer = self._inner.normalizer
        return (text if normalizer is None else normalizer.normalize_str(text)).strip()

    def _ids(self, core: tokenizers.Tokenizer, text: str) -> list[int]:
        return core.encode(text, add_special_tokens=False).ids


def _marks_words(pre_tokenizer: Any) -> bool:
    """Whether spaces are dropped, and a mark before each word replaces them."""
    if pre_tokenizer is None:
        return False
    states = list(_parts(json.loads(pre_tokenizer.__getstate__()), "pretokenizers", lambda s: s))
    dropped = any(state["type"] in ("WhitespaceSplit", "Whitespace") for state in states)
    return dropped and any(state.get("prepend_scheme") == "always" for state in states)


def _without_beginning(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same tokenizer, which does nothing to the beginning of a text; it shares the model."""
    parts = parts_of(
        normalizer=_edited(core.normalizer, "normalizers", _normalizer),
        pre_tokenizer=_edited(core.pre_tokenizer, "pretokenizers", _pre_tokenizer),
    )
    inner = tokenizers.Tokenizer(core.model)
    if parts.normalizer is not None:
        inner.normalizer = parts.normalizer
    if parts.pre_tokenizer is not None:
        inner.pre_tokenizer = parts.pre_tokenizer
    inner.add_tokens([token for _, token in sorted(core.get_added_tokens_decoder().items())])
    inner.encode_special_tokens = core.encode_special_tokens
    return inner


Edit = Callable[[dict[str, Any]], dict[str, Any] | None]


def _edited(part: Any, list_name: str, edit: Edit) -> dict[str, Any] | None:
    """The state of a part of a tokenizer with all of its own parts edited; None leaves one out."""
    if part is None:
        return None
    kept = list(_parts(json.loads(part.__getstate__()), list_name, edit))
    return {"type": "Sequence", list_name: kept} if kept else None


def _parts(state: dict[str, Any], list_name: str, edit: Edit) -> Iterable[dict[str, Any]]:
    if state["type"] == "Sequence":
        for part in state[list_name]:
            yield from _parts(part, list_name, edit)
        return
    made = edit(state)
    if made is not None:
        yield made


def _normalizer(state: dict[str, Any]) -> dict[str, Any] | None:
    if state["type"] == "Prepend":
        return None
    if state["type"] == "Replace" and state["pattern"].get("Regex", "").startswith(_ANCHORS):
        return None
    return state | {"strip_left": False} if state["type"] == "Strip" else state


def _pre_tokenizer(state: dict[str, Any]) -> dict[str, Any]:
    changes = {"Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False}}
    return state | changes.get(state["type"], {})
