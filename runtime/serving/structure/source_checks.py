"""How large regular expressions and grammars may be."""

import re
from typing import Any

from sala_compile.runtime.common.json_text import json_kind
from sala_compile.runtime.errors import RequestError

REGEX_CHARACTERS = 1 << 13
GRAMMAR_CHARACTERS = 1 << 15
RULES = 400
"""Each is a call of the compiler within another one, at worst."""

_RULE = re.compile(r"^\s*[?!]?[A-Za-z_][\w.-]*(\[[^\]]*\])?(\.\d+)?\s*:", re.MULTILINE)


def check_regex(pattern: Any, where: str) -> str:
    """A regular expression of a size that is compiled; RequestError for anything else."""
    return _checked(pattern, where, REGEX_CHARACTERS, "a regular expression")


def check_grammar(source: Any, where: str) -> str:
    """A grammar of a size that is compiled; RequestError for anything else."""
    source = _checked(source, where, GRAMMAR_CHARACTERS, "a grammar in Lark's notation")
    rules = len(_RULE.findall(source))
    if rules > RULES:
        raise _refused(f"the grammar has {rules} rules", where, f"at most {RULES}")
    return source


def _checked(source: Any, where: str, limit: int, expected: str) -> str:
    if not isinstance(source, str) or not source:
        found = "it is empty" if source == "" else f"it is {json_kind(source)}"
        raise _refused(found, where, expected)
    if not source.isascii() and any("\ud800" <= each <= "\udfff" for each in source):
        raise _refused("it has half a surrogate pair, which is no character", where, expected)
    if len(source) > limit:
        raise _refused(f"it has {len(source)} characters", where, f"at most {limit}")
    return source


def _refused(found: str, where: str, expected: str) -> RequestError:
    return RequestError(found, where, expected)
