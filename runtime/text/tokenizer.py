"""Text to token ids and back, with the tokenizer files of the checkpoint."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from sala_compile.runtime.common.files import stands
from sala_compile.runtime.common.json_text import json_kind, quoted
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizers.library_calls import library_errors
from sala_compile.runtime.text.tokenizers.seams import Seam
from sala_compile.runtime.text.tokenizers.space_cleanup import SpaceCleaner, clean_spaces
from sala_compile.runtime.text.tokenizers.special_tokens import SpecialTokens
from sala_compile.runtime.text.tokenizers.stream_decoder import Spell, StreamDecoder, text_of
from sala_compile.runtime.text.tokenizers.token_spelling import TokenSpelling
from sala_compile.runtime.text.tokenizers.tokenizer_files import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    TokenizerFiles,
)
from sala_compile.runtime.text.tokenizers.tokenizer_loading import load_core

_REMEMBERED = 8192
"""Tokens whose spelling is remembered: most texts have fewer different ones."""

__all__ = ["CONFIG_FILE", "TOKENIZER_FILE", "Tokenizer", "read_config"]


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer: the library's, its configuration, the special tokens that the files name."""

    core: tokenizers.Tokenizer
    config: dict[str, Any]
    special: SpecialTokens = field(default_factory=SpecialTokens)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` holds something that is named as a tokenizer."""
        return stands(directory / TOKENIZER_FILE)

    @staticmethod
    def from_files(directory: Path) -> "Tokenizer":
        """Load from `directory`; RequestError if it has no tokenizer, ArtifactError if damaged.

        ArtifactError also for a tokenizer whose time or memory no length of the text bounds.
        """
        files = TokenizerFiles.of_directory(Path(directory))
        return Tokenizer.of(files, directory.name)

    @staticmethod
    def of(files: TokenizerFiles, name: str) -> "Tokenizer":
        """Load from `files`; `name` is what messages call the model that they belong to."""
        if files.tokenizer is None:
            raise RequestError(
                f"{name} has no tokenizer, so it takes and gives token ids, no text",
                where=files.where(TOKENIZER_FILE),
                expected="the file tokenizer.json",
                fix="give token ids, or compile a checkpoint directory that has its tokenizer.json",
            )
        core, special = load_core(files)
        return Tokenizer(core, files.config, special)

    @property
    def vocabulary(self) -> int:
        """Number of tokens, the added ones included."""
        return self.core.get_vocab_size(with_added_tokens=True)

    @property
    def special_tokens(self) -> dict[str, str]:
        """Text of each special token by its part, such as `bos_token`: a template's variables."""
        return self.special.texts

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The id of its `eos_token`, if it names one: after it an answer is over."""
        text = self.special_tokens.get("eos_token")
        token = None if text is None else self.core.token_to_id(text)
        return () if token is None else (token,)

    @property
    def largest_id(self) -> int:
        """The largest id that a text can become; -1 if there are no tokens."""
        return max(self.core.get_vocab(with_added_tokens=True).values(), default=-1)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of `text`; `special` adds what is around a whole text, such as `<s>`.

        RequestError if the text has half a surrogate pair: bytes that were not UTF-8.
        """
        _require_characters(text)
        with _reading_text():
            return self.core.encode(text, add_special_tokens=special).ids

    def encode_continuation(self, text: str, before: Sequence[int] | None = None) -> list[int]:
        """Token ids of `text` as the tail of a text whose ids so far are `before`.

        These stay as they are: no token spans the seam. Nothing is put between the two, neither a
        space where the tokenizer begins a text with one, nor special tokens. After an added token,
        such as `<|im_end|>`, `text` is read as the tokenizer reads it there. Where `before` is
        empty, or only what begins any text, it is the beginning of a text. None is for
        a text that is not known and ends with no added token. RequestError as for `encode`.
        """
        _require_characters(text)
        with _reading_text():
            return self._seam.encode(text, before, self.decode)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids`, without special tokens; ids that are no tokens have no text."""
        text = self._joined(token_ids)
        return clean_spaces(text) if self._cleans else text

    def begins_twice(self, token_ids: Sequence[int]) -> str | None:
        """The token that is twice before the text, such as `<s>`, if one does.

        A text that spells it gets a second one from the tokenizer; so it does in transformers.
        """
        opening = self.special_tokens.get("bos_token")
        token = None if opening is None else self.core.token_to_id(opening)
        if token is None:
            token = next(iter(self.encode("")), None)
        twice = token is not None and list(token_ids[:2]) == [token, token]
        return self.core.id_to_token(token) if twice and token is not None else None

    def stream(self, context: Sequence[int] = ()) -> StreamDecoder:
        """A decoder for tokens that follow the tokens `context`."""
        cleaner = SpaceCleaner() if self._cleans else None
        text = text_of(self._joined, self.core.decoder)
        return StreamDecoder(self._spell, text, cleaner, context)

    def _joined(self, token_ids: Sequence[int]) -> str:
        with library_errors(
            RequestError, "these are no token ids", expected="whole numbers from 0 to 4294967295"
        ):
            return self.core.decode(list(token_ids), skip_special_tokens=True)

    @cached_property
    def added(self) -> dict[int, AddedToken]:
        """The added tokens by id, which are never split or merged with other text."""
        return self.core.get_added_tokens_decoder()

    @cached_property
    def spelling(self) -> TokenSpelling:
        """The bytes of each token in the middle of a text."""
        return TokenSpelling(self.core, self._hidden)

    @cached_property
    def marks(self) -> dict[int, str]:
        """The tokens by id that are in no text, such as `<s>`, and how they are spelled."""
        spelled = ((token, self.core.id_to_token(token)) for token in self.added)
        return {token: text for token, text in spelled if text in self._hidden}

    @cached_property
    def _spell(self) -> Spell:
        """How a token is spelled, as streams ask for each one; of the newest it is remembered."""

        @lru_cache(_REMEMBERED)
        def spell(token_id: int) -> str | None:
            with library_errors(RequestError, f"{token_id!r} is no token id"):
                token = self.core.id_to_token(int(token_id))
            return None if token is None or token in self._hidden else token

        return spell

    @cached_property
    def _hidden(self) -> frozenset[str]:
        """The tokens that the library leaves out of a text, also against a token's own flag."""

        def hidden(token: int) -> bool:
            shown = self.core.decode([token], skip_special_tokens=False)
            return shown != self.core.decode([token], skip_special_tokens=True)

        spelled = (self.core.id_to_token(token) for token in self.added if hidden(token))
        return frozenset(text for text in spelled if text is not None)

    @cached_property
    def _seam(self) -> Seam:
        return Seam(self.core)

    @property
    def rewrites(self) -> bool:
        """Whether a text is more than its tokens' texts joined: spaces are removed from it."""
        return self._cleans

    @cached_property
    def _cleans(self) -> bool:
        """Whether spaces before punctuation are removed: by the configuration, never for BPE."""
        name = "clean_up_tokenization_spaces"
        harms = isinstance(self.core.model, tokenizers.models.BPE)
        forced = self.config.get(f"{name}_for_bpe_even_though_it_will_corrupt_output")
        return bool(self.config.get(name) and (forced or not harms))


def read_config(directory: Path) -> dict[str, Any]:
    """The contents of tokenizer_config.json, empty if there is none."""
    return TokenizerFiles.of_directory(directory).config


def _reading_text() -> AbstractContextManager[None]:
    return library_errors(
        RequestError,
        "the tokenizer fails on this text",
        fix="leave out what is unusual in the text, or give token ids",
    )


def _require_characters(text: str) -> None:
    if not isinstance(text, str):
        raise RequestError(
            f"{quoted(text)} is no text", expected="a str", fix=f"not {json_kind(text)}"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"the text is not UTF-8: {text[error.start]!r} is no character",
            where=f"character {error.start} of the text",
            fix="give the text in UTF-8",
        ) from None
