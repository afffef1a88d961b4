"""Special tokens of a checkpoint: what its files name, and which file overrules which.

The rules are those of transformers 5 where there is a tokenizer.json: tokenizer_config.json names
tokens by their part (`bos_token`), in lists and in `added_tokens_decoder`. Only where it has no
`added_tokens_decoder`, special_tokens_map.json overrules it, and added_tokens.json and the added
tokens of tokenizer.json give the flags. `add_bos_token` and `add_eos_token` are not read: what
is around a text is the post-processor's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken

from sala_compile.runtime.common.json_text import is_list, is_object, quoted
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.text.tokenizers.library_calls import library_errors
from sala_compile.runtime.text.tokenizers.tokenizer_files import (
    ADDED_TOKENS_FILE,
    CONFIG_FILE,
    SPECIAL_TOKENS_MAP_FILE,
    TOKENIZER_FILE,
    TokenizerFiles,
)

PARTS = (
    *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"),
)
"""The parts that every tokenizer may name a token for; a checkpoint may add parts of its own."""

Token = str | AddedToken

_FIELDS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
_EXTRA, _ADDITIONAL = "extra_special_tokens", "additional_special_tokens"


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Tokens by their part, further special ones, and those that a file gives an id."""

    parts: dict[str, Token] = field(default_factory=dict[str, Token])
    extra: list[Token] = field(default_factory=list[Token])
    by_id: dict[int, AddedToken] = field(default_factory=dict[int, AddedToken])

    @property
    def texts(self) -> dict[str, str]:
        """Text of the token of each part, as a chat template sees it."""
        return {part: text_of(token) for part, token in self.parts.items()}

    @property
    def all(self) -> list[Token]:
        """The tokens of all parts and the further ones, each text once."""
        return list(
            {text_of(token): token for token in (*self.parts.values(), *self.extra)}.values()
        )

    def to_add(self, present: Mapping[int, AddedToken]) -> list[AddedToken]:
        """The tokens to add, in their order, to a tokenizer that has the added tokens `present`.

        Those that have an id are added once more where they are there already: a token that a part
        names is then a special one.
        """
        found: list[Token] = [token for _, token in sorted(self.by_id.items())]
        named = {text_of(token) for token in (*present.values(), *found)}
        found += _without_repeats((*self.parts.values(), *self.extra), named)
        tokens = [AddedToken(t, special=True) if isinstance(t, str) else t for t in found]
        texts = set(self.texts.values())
        for token in tokens:
            token.special = token.special or token.content in texts
        return tokens


def text_of(token: Token) -> str:
    """The text of a token."""
    return token if isinstance(token, str) else token.content


def _without_repeats(tokens: Sequence[Token], named: set[str]) -> list[Token]:
    found: list[Token] = []
    for token in tokens:
        if text_of(token) not in named and token not in found:
            found.append(token)
    return found


def read_special_tokens(
    files: TokenizerFiles, defaults: Mapping[str, str | None] | None = None
) -> SpecialTokens:
    """The special tokens that `files` name; `defaults` are those that a tokenizer class brings.

    ArtifactError for an entry that is not a token.
    """
    return _Reader(files, dict(files.config)).read(defaults or {})


@dataclass(slots=True)
class _Reader:
    """Merges the entries of the files; `entries` are those of the configuration at first."""

    files: TokenizerFiles
    entries: dict[str, Any]
    own: dict[str, Any] = field(
        default_factory=dict[str, Any]
    )  # parts that only this checkpoint has
    by_id: dict[int, AddedToken] = field(default_factory=dict[int, AddedToken])
    known: dict[str, AddedToken] = field(default_factory=dict[str, AddedToken])
    """Those that had an id in any file."""

    def read(self, defaults: Mapping[str, str | None]) -> SpecialTokens:
        """The tokens, in the order in which they are added."""
        if not self.entries.get(_EXTRA):
            self._rename_additional()
        self._take_own_parts(str)
        self._take_extra_parts()
        if "added_tokens_decoder" in self.entries:
            self._read_decoder()
        else:
            self._read_map()
            self._read_added_tokens()
            self._read_tokenizer()
        if _EXTRA not in self.entries:
            self._rename_additional()
            self._take_extra_parts()
        explicit, self.own = self.own, {}
        self._take_own_parts(str, dict, AddedToken)
        self.own |= explicit
        parts = self._parts(defaults)
        return SpecialTokens(parts, self._extra(), self.by_id)

    def _parts(self, defaults: Mapping[str, str | None]) -> dict[str, Token]:
        entries = {part: self.entries.get(part, defaults.get(part)) for part in PARTS}
        parts: dict[str, Token] = {}
        for part, entry in entries.items():
            token = None if entry is None else self._part(part, entry)
            if token is not None:
                parts[part] = self.known.get(text_of(token), token)
        if "pad_token" not in self.entries and "pad_token" not in defaults:
            self._pad_of_tokenizer(parts)
        return parts | {part: self._part(part, entry) for part, entry in self.own.items()}

    def _rename_additional(self) -> None:
        """Read `additional_special_tokens`, the older name, as the newer one."""
        if _ADDITIONAL in self.entries:
            self.entries[_EXTRA] = self.entries.pop(_ADDITIONAL)

    def _take_extra_parts(self) -> None:
        """Read an object of parts and tokens, which may replace the list of tokens."""
        extra = self.entries.get(_EXTRA)
        if is_object(extra):
            self.own |= self.entries.pop(_EXTRA)
        elif not (extra is None or is_list(extra)):
            raise self._refused(CONFIG_FILE, _EXTRA, extra, "a list of tokens, or an object")

    def _take_own_parts(self, *kinds: type) -> None:
        for name in list(self.entries):
            entry = self.entries[name]
            if not name.endswith("_token") or name in PARTS or not isinstance(entry, kinds):
                continue
            if not is_object(entry) or "__type" in entry:
                self.own[name] = self.entries.pop(name)

    def _read_decoder(self) -> None:
        name = "added_tokens_decoder"
        entries = self.entries[name]
        if not is_object(entries):
            raise self._refused(CONFIG_FILE, name, entries, "an object of ids and tokens")
        for index, entry in entries.items():
            if not (index.isdecimal() and index.isascii()):
                raise self._refused(CONFIG_FILE, f"{name}: {index}", entry, "an id before it")
            self._know(int(index), self._token(entry, CONFIG_FILE, f"{name}: {index}"))

    def _read_map(self) -> None:
        name = SPECIAL_TOKENS_MAP_FILE
        for key, value in (self.files.document(name) or {}).items():
            if is_object(value) and key != _EXTRA:
                self.entries[key] = self._special(value, name, key)
            elif key == _EXTRA and is_list(value):
                tokens = [self._special(token, name, key) for token in value]
                self.entries[key] = [*(self.entries.get(key) or []), *tokens]
            else:
                self.entries[key] = value
        self._take_extra_parts()

    def _read_added_tokens(self) -> None:
        parts = [self.entries.get(part) for part in PARTS]
        extra: list[Any] = self.entries.get(_EXTRA) or []
        special = {_text_named(entry) for entry in (*parts, *extra)}
        for text, index in (self.files.document(ADDED_TOKENS_FILE) or {}).items():
            if type(index) is not int or index < 0:
                raise self._refused(ADDED_TOKENS_FILE, text, index, "a token id")
            marked = text in special
            verbatim = marked or _prepends((self.files.tokenizer or {}).get("normalizer"))
            self._know(index, AddedToken(text, normalized=not verbatim, special=marked))

    def _read_tokenizer(self) -> None:
        entries = (self.files.tokenizer or {}).get("added_tokens", [])
        if not is_list(entries):
            raise self._refused(TOKENIZER_FILE, "added_tokens", entries, "a list of tokens")
        for entry in entries:
            index = entry.get("id") if is_object(entry) else None
            if type(index) is not int or index < 0:
                raise self._refused(TOKENIZER_FILE, "added_tokens", entry)
            fields = {key: value for key, value in entry.items() if key != "id"}
            self._know(index, self._token(fields, TOKENIZER_FILE, f"added_tokens: id {index}"))

    def _know(self, index: int, token: AddedToken) -> None:
        self.by_id[index] = self.known[token.content] = token

    def _pad_of_tokenizer(self, parts: dict[str, Token]) -> None:
        """Take the padding token of tokenizer.json if nothing else names one."""
        padding = (self.files.tokenizer or {}).get("padding")
        text = padding.get("pad_token") if is_object(padding) else None
        if isinstance(text, str):
            parts["pad_token"] = text

    def _extra(self) -> list[Token]:
        entries: list[Any] = self.entries.get(_EXTRA) or []
        return [self._part(_EXTRA, entry) for entry in entries]

    def _part(self, name: str, value: Any) -> Token:
        if isinstance(value, str | AddedToken):
            return value
        typed = is_object(value) and "__type" in value
        read = self._token if typed else self._special
        return read(value, CONFIG_FILE, name)

    def _special(self, entry: Any, file: str, name: str) -> Token:
        if isinstance(entry, str):
            return entry
        marked = entry | {"special": True} if is_object(entry) else entry
        return self._token(marked, file, name)

    def _token(self, entry: Any, file: str, name: str) -> AddedToken:
        """The token of an entry `{"content": ..., "lstrip": ...}`."""
        if not (is_object(entry) and isinstance(entry.get("content"), str)):
            raise self._refused(file, name, entry)
        fields = {key: value for key, value in entry.items() if key in _FIELDS}
        with library_errors(
            ArtifactError,
            f"the token {quoted(entry['content'])} cannot be read",
            where=f"{self.files.where(file)}: {name}",
            expected="flags that the library tokenizers knows, true or false",
        ):
            return AddedToken(**fields)

    def _refused(
        self, file: str, name: str, found: Any, expected: str = "a token: a text, or an object"
    ) -> ArtifactError:
        error = self.files.refused(file, f"{name} is {quoted(found)}", expected)
        error.where = f"{error.where}: {name}"
        return error


def _text_named(entry: Any) -> str | None:
    """The text of an entry; None for an object, which is not read as a token at that point."""
    text = entry.content if isinstance(entry, AddedToken) else entry
    return text if isinstance(text, str) else None


def _prepends(normalizer: Any) -> bool:
    """Whether a normalizer puts something before every text, before a token's own text too.

    Such a token would be found only where that precedes it by chance.
    """
    if not is_object(normalizer):
        return False
    parts = normalizer.get("normalizers")
    return normalizer.get("type") == "Prepend" or (is_list(parts) and any(map(_prepends, parts)))
