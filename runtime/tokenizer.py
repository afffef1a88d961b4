"""Text to token ids and back, with the tokenizer files of the checkpoint."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from runtime.errors import ArtifactError, RequestError

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
# Token context that decides on spaces at the seam of prompt and answer.
_CONTEXT_TOKENS = 6
# Bytes of a UTF-8 character that can be missing at the end; each may be decoded as U+FFFD.
_MISSING_BYTES = 3
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A tokenizer and the special tokens that its configuration puts around a text."""

    core: tokenizers.Tokenizer
    config: dict[str, Any]

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` holds a tokenizer that can be loaded."""
        return (directory / TOKENIZER_FILE).is_file()

    @staticmethod
    def from_files(directory: Path) -> "Tokenizer":
        """Load from `directory`; RequestError where it has no tokenizer."""
        path = directory / TOKENIZER_FILE
        if not path.is_file():
            raise RequestError(
                f"{directory.name} has no tokenizer, so it takes and gives token ids, no text",
                where=str(path),
                expected="the file tokenizer.json",
                fix="give token ids, or compile a checkpoint directory that has its tokenizer.json",
            )
        try:
            core = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ArtifactError(
                f"the tokenizer cannot be read: {error}",
                where=str(path),
                expected="a tokenizer as the library tokenizers writes it",
                fix="compile again, from a checkpoint whose tokenizer.json is whole",
            ) from None
        core.no_truncation()
        core.no_padding()
        return Tokenizer(core, read_config(directory))

    @property
    def vocabulary(self) -> int:
        """Number of tokens, the added ones included."""
        return self.core.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of `text`; `special` adds what stands around a whole text, such as `<s>`.

        RequestError where the text has half a surrogate pair: bytes that were not UTF-8.
        """
        _require_characters(text)
        added = self._around() if special else None
        ids = self.core.encode(text, add_special_tokens=special and added is None).ids
        before, after = added or ([], [])
        return [*before, *ids, *after]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`, without special tokens."""
        return self.core.decode(list(token_ids), skip_special_tokens=True)

    def stream(self, context: Sequence[int] = ()) -> "StreamDecoder":
        """A decoder for tokens that follow the tokens `context`."""
        return StreamDecoder(self, context)

    def special_text(self, name: str) -> str | None:
        """The text of the special token `name`, such as `bos_token`, if there is one."""
        return special_text(self.config, name)

    def _around(self) -> tuple[list[int], list[int]] | None:
        """Ids before and after a text as tokenizer_config.json says; None where it says nothing.

        The flags of the configuration overrule the post-processor of tokenizer.json, and the Llama
        classes add `bos` unless told otherwise, as in the library that these files come from.
        """
        flags = {name: self.config.get(f"add_{name}_token") for name in ("bos", "eos")}
        llama = str(self.config.get("tokenizer_class", "")).startswith(("Llama", "CodeLlama"))
        if not llama and all(flag is None for flag in flags.values()):
            return None
        template = self.core.encode("", add_special_tokens=True).ids
        ids = {name: self._special_ids(f"{name}_token") for name in flags}
        usual = {name: bool(ids[name]) and ids[name][0] in template for name in flags}
        if llama:
            usual = {"bos": True, "eos": False}
        wanted = {name: usual[name] if flag is None else flag for name, flag in flags.items()}
        before, after = (ids[name] if wanted[name] else [] for name in flags)
        return before, after

    def _special_ids(self, name: str) -> list[int]:
        """The id of the special token `name` as a list, empty where there is none."""
        text = self.special_text(name)
        token = None if text is None else self.core.token_to_id(text)
        return [] if token is None else [token]


def _require_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"the text is not UTF-8: {text[error.start]!r} is no character",
            where=f"character {error.start} of the text",
            fix="give the text in UTF-8",
        ) from None


def special_text(config: dict[str, Any], name: str) -> str | None:
    """The text of the special token `name` in a tokenizer_config.json, if it names one."""
    entry = config.get(name)
    return entry.get("content") if isinstance(entry, dict) else entry


def read_config(directory: Path) -> dict[str, Any]:
    """The contents of tokenizer_config.json, empty where there is none."""
    path = directory / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _unreadable_config(f"this is not JSON: {error}", path) from None
    if not isinstance(config, dict):
        raise _unreadable_config("the configuration is not a JSON object", path)
    return config


def _unreadable_config(found: str, path: Path) -> ArtifactError:
    return ArtifactError(
        found,
        where=str(path),
        expected="one JSON object",
        fix=f"compile again, from a checkpoint whose {CONFIG_FILE} is whole",
    )


class StreamDecoder:
    """Decodes token by token: no character in halves, no space lost at a seam.

    A few tokens before the undecided ones are decoded along with them, because a decoder may treat
    the first token of a text differently (it drops its leading space).
    """

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        """Begin behind the tokens `context`."""
        self._tokenizer = tokenizer
        self._before = _clean_end(tokenizer, context)
        self._window: list[int] = []
        # Characters of the decoded `_before + _window` that need no more printing.
        self._printed = len(tokenizer.decode(self._before).rstrip(_REPLACEMENT))

    def push(self, token: int) -> str:
        """The text that is certain once `token` follows; often empty for a part of a character."""
        self._window.append(int(token))
        text = self._text()
        certain = len(text) - _incomplete(text)
        piece = text[self._printed : certain]
        self._printed = max(self._printed, certain)
        if certain == len(text):
            self._advance(bool(piece))
        return piece

    def flush(self) -> str:
        """The rest, with U+FFFD for a character that never became whole."""
        text = self._text()
        piece, self._printed = text[self._printed :], len(text)
        return piece

    def _text(self) -> str:
        return self._tokenizer.decode(self._before + self._window)

    def _advance(self, printed: bool) -> None:
        """Let the window become the context of what follows; tokens without text only join it."""
        self._before = self._window if printed else self._before + self._window
        self._window = []
        self._printed = len(self._text())


def _clean_end(tokenizer: Tokenizer, context: Sequence[int]) -> list[int]:
    """The last tokens of `context`, a few more where they would begin inside a character."""
    end: list[int] = []
    for count in range(_CONTEXT_TOKENS, _CONTEXT_TOKENS + _MISSING_BYTES + 1):
        end = [int(token) for token in context[-count:]]
        if not tokenizer.decode(end).startswith(_REPLACEMENT):
            break
    return end


def _incomplete(text: str) -> int:
    """How many of the last characters may still turn into another one."""
    run = len(text) - len(text.rstrip(_REPLACEMENT))
    return min(run, _MISSING_BYTES)
