"""The tokens of a model as llguidance reads them."""

from collections.abc import Sequence, Set
from functools import cached_property

from llguidance import LLTokenizer, TokenizerWrapper

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizer import Tokenizer


class GrammarTokenizer:
    """The bytes of every id of a model's vocabulary, which may be larger than the tokenizer's.

    Ids that are no tokens, and special tokens, are in no text: a grammar allows them nowhere, but
    the ends of an answer where it may end.
    """

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, ends: Set[int]) -> None:
        """Of a model of `vocabulary` ids; RequestError if no grammar can be enforced with it."""
        if tokenizer.rewrites:
            raise RequestError(
                "the tokenizer of this model removes spaces from texts, so that no grammar holds",
                where="clean_up_tokenization_spaces of tokenizer_config.json",
                fix="request the answer without a schema, grammar or required tool",
            )
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.ends = frozenset(token for token in ends if token < vocabulary)
        self.tokens = [tokenizer.spelling.of(token) for token in range(vocabulary)]

    @cached_property
    def space(self) -> frozenset[int]:
        """The tokens of space and nothing else."""
        return frozenset(id for id, data in enumerate(self.tokens) if data and data.isspace())

    @cached_property
    def library(self) -> LLTokenizer:
        """The library's object, which costs about a second for 150 000 tokens."""
        ends = sorted(self.ends) or [self.vocabulary]  # the library needs one that ends
        names = dict.fromkeys(ends, b"<|end|>") | {
            token: text.encode() for token, text in self.tokenizer.marks.items()
        }
        tokens = [names.get(token, data) for token, data in enumerate(self.tokens)]
        tokens += [b"<|end|>"] * (ends[-1] == self.vocabulary)
        special = sorted(token for token in names if token < len(tokens))
        source = _Source(self.tokenizer, tokens, special, ends[0])
        return LLTokenizer(TokenizerWrapper(source), eos_token=ends)


class _Source:
    """What the library asks of a tokenizer."""

    bos_token_id = None

    def __init__(
        self, tokenizer: Tokenizer, tokens: Sequence[bytes], special: Sequence[int], end: int
    ) -> None:
        self.tokens, self.special_token_ids, self.eos_token_id = tokens, special, end
        self._tokenizer = tokenizer

    def __call__(self, text: str | bytes) -> list[int]:
        """The ids of `text` in the middle of another one."""
        return self._tokenizer.encode_continuation(text if isinstance(text, str) else text.decode())
