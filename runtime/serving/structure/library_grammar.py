"""Structures as llguidance compiles them."""

import json
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

SCHEMA, REGEX, LARK = "json_schema", "regex", "grammar"
"""Kinds of sources."""

WHITESPACE = r"[ ]?"
"""Between the parts of JSON: where more is allowed, small models write nothing else."""
_LONGEST_MESSAGE = 300
_TRIED = 4


class GrammarFailure(Exception):
    """A source that is no grammar, or too large a one, and what is wrong with it."""


def compiled(tokenizer: LLTokenizer, kind: str, source: str) -> LLMatcher:
    """A matcher at its beginning; GrammarFailure if there is none.

    The first few tokens of an answer are tried, because some grammars turn out to be too large
    only then.
    """
    try:
        grammar = _grammar(kind, source)
    except ValueError as error:  # of what the library cannot read
        raise GrammarFailure(_shortened(str(error))) from None
    limits = LLParserLimits(verbose_errors=False)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    _check(matcher)
    trial = matcher.deep_copy()
    allowed = any(trial.compute_bitmask())
    _check(trial)
    if not allowed:
        raise GrammarFailure("no text matches it")
    for _ in range(_TRIED):
        if trial.is_stopped():
            break
        trial.consume_token(_lowest(trial.compute_bitmask()))
    _check(trial)
    return matcher


def _lowest(mask: bytes) -> int:
    """The lowest id whose bit is set; 0 if none is."""
    place = next((i for i, byte in enumerate(mask) if byte), 0)
    return place * 8 + max((mask[place] & -mask[place]).bit_length() - 1, 0)


def _grammar(kind: str, source: str) -> str:
    if kind == SCHEMA:
        options: Any = {"whitespace_pattern": WHITESPACE, "coerce_one_of": False, "lenient": False}
        return LLMatcher.grammar_from_json_schema(source, overrides=options)
    if kind == REGEX:
        return LLMatcher.grammar_from_regex(source)
    return json.dumps({"grammars": [{"lark_grammar": source}]})


def _check(matcher: LLMatcher) -> None:
    if matcher.is_error():
        raise GrammarFailure(_shortened(matcher.get_error()))


def _shortened(said: str) -> str:
    """What the library says is wrong, on one line."""
    text = " ".join(said.replace("<non-verbose/>", "").split())
    text = text.split("<backtrace>")[0].rstrip()
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} ..."
