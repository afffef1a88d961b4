"""Regular expressions of tokenizers: refused if no length of a text bounds their time.

The library's engine backtracks. What can take exponential time is refused, and so is what reads
far ahead from each place of ordinary text and then fails; words and runs of spaces are short.
Where nothing after a repeat can fail, the engine never tries it in another way.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tokenizers import Regex, pre_tokenizers

LONGEST = 1 << 16
"""Characters of a pattern."""
MOST_REPEATS = 1000
"""The largest number in braces; nested ones multiply."""
_MOST_UNBOUNDED = 4  # of one way through a pattern
_SMALL = 16  # repeats of something variable
_WORDS = "ab ba"  # what a part matches that reads over words and spaces

_QUANTIFIER = re.compile(r"([*+?])[?+]?|\{(\d+)\}|\{(\d*),(\d*)\}\??")
_ESCAPE = re.compile(r"\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|.)", re.S)
_OPENING = re.compile(
    r"\((?:\?(?:#[^)]*|[a-zA-Z-]*:|[a-zA-Z-]+(?=\))|=|!|<=|<!|>|<[A-Za-z_]\w*>|P<\w+>))?"
)


class UnboundedRegexError(ValueError):
    """Why a pattern is refused, to follow "the pattern"."""


@dataclass(slots=True)
class _Path:
    """The cost of one path through a part of a pattern; consecutive parts add up."""

    variable: bool = False  # it matches texts of several lengths, or in several ways
    unbounded: int = 0
    repeats: int = 1
    wide: bool = False  # it ends with something unbounded that reads over words and spaces
    mandatory: bool = False  # it matches no empty text, or looks around
    ambiguous: str = ""  # a repeat of it that may match in several ways: what follows must not fail


def check_regex(pattern: str) -> None:
    """Raise UnboundedRegexError for a pattern whose time no length of ordinary text bounds."""
    if len(pattern) > LONGEST:
        raise UnboundedRegexError(f"has {len(pattern)} characters, more than {LONGEST}")
    parser = _Parser(pattern)
    parser.alternatives()
    if parser.place < len(pattern):
        raise UnboundedRegexError(f"has a ) too many at character {parser.place}")


class _Parser:
    """Reads a pattern once, from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.place = 0
        self._depth = 0

    def alternatives(self) -> _Path:
        """Branches up to the end of the group: the worst of each."""
        branches = [self._branch()]
        while self._peek() == "|":
            self.place += 1
            branches.append(self._branch())
        return _Path(
            variable=len(branches) > 1 or branches[0].variable,
            unbounded=max(branch.unbounded for branch in branches),
            repeats=max(branch.repeats for branch in branches),
            wide=any(branch.wide for branch in branches),
            mandatory=all(branch.mandatory for branch in branches),
            ambiguous=next((branch.ambiguous for branch in branches if branch.ambiguous), ""),
        )

    def _branch(self) -> _Path:
        whole = _Path()
        for part in self._parts():
            if whole.wide and part.mandatory:
                raise UnboundedRegexError("reads any text far ahead before it can fail")
            if whole.ambiguous and part.mandatory:
                raise _ambiguous(whole.ambiguous)
            whole.variable |= part.variable
            whole.unbounded += part.unbounded
            whole.repeats = max(whole.repeats, part.repeats)
            whole.wide |= part.wide
            whole.mandatory |= part.mandatory
            whole.ambiguous = whole.ambiguous or part.ambiguous
            if whole.unbounded > _MOST_UNBOUNDED:
                raise UnboundedRegexError(f"has more than {_MOST_UNBOUNDED} * and + in a row")
        return whole

    def _parts(self) -> Iterator[_Path]:
        while self._peek() not in ("", "|", ")"):
            start = self.place
            part = self._atom()
            source = self._pattern[start : self.place]
            while found := _QUANTIFIER.match(self._pattern, self.place):
                self.place = found.end()
                part = _repeated(part, source, *_bounds(found))
                source = self._pattern[start : self.place]
            yield part

    def _atom(self) -> _Path:
        first = self._peek()
        if first == "(":
            return self._group()
        if first == "[":
            self._character_class()
        elif first == "\\":
            self._escape()
        else:
            self.place += 1
            return _Path(mandatory=True)
        return _Path(mandatory=True)

    def _group(self) -> _Path:
        found = _OPENING.match(self._pattern, self.place)
        assert found is not None, "it begins with a parenthesis"
        if found[0] == "(" and self._pattern.startswith("(?", self.place):
            raise UnboundedRegexError(
                "has a condition, a call or an absence: (?~ or (?( or the like"
            )
        self.place = found.end()
        self._depth += 1
        if self._depth > 32:
            raise UnboundedRegexError("has groups nested more than 32 deep")
        inner = self.alternatives()
        self._depth -= 1
        if self._peek() != ")":
            raise UnboundedRegexError("has a group without an end")
        self.place += 1
        if found[0] in ("(?=", "(?!", "(?<=", "(?<!"):
            inner.mandatory = True
        return inner

    def _escape(self) -> None:
        found = _ESCAPE.match(self._pattern, self.place)
        if found is None:
            raise UnboundedRegexError("ends with a backslash")
        if found[0][1] in "123456789kg":
            raise UnboundedRegexError(f"refers back to what a group matched: {found[0]}")
        self.place = found.end()

    def _character_class(self) -> None:
        depth = 0
        while True:
            character = self._peek()
            if character == "":
                raise UnboundedRegexError("has a [ without an end")
            if character == "\\":
                found = _ESCAPE.match(self._pattern, self.place)
                self.place = self.place + 1 if found is None else found.end()
                continue
            self.place += 1
            if character == "[":
                depth += 1
                literal = "^]" if self._pattern.startswith("^]", self.place) else "]"
                if self._pattern.startswith(literal, self.place):
                    self.place += len(literal)
            elif character == "]":
                depth -= 1
                if depth == 0:
                    return

    def _peek(self) -> str:
        return self._pattern[self.place : self.place + 1]


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    """Fewest and most repeats of a quantifier; None is any number."""
    if found[1]:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[1]]
    if found[2]:
        return _number(found[2]), _number(found[2])
    unbounded = found[3] and not found[4]
    return _number(found[3]), None if unbounded else _number(found[4])


def _number(digits: str) -> int:
    return int(digits or 0) if len(digits) < 10 else MOST_REPEATS + 1


def _ambiguous(source: str) -> UnboundedRegexError:
    return UnboundedRegexError(f"repeats what may match in several ways: {source}")


def _repeated(part: _Path, source: str, fewest: int, most: int | None) -> _Path:
    unbounded = most is None
    ambiguous = part.ambiguous
    if part.variable and (unbounded or most > _SMALL):
        ambiguous = ambiguous or source[:40]
    if ambiguous and fewest > 1:
        raise _ambiguous(ambiguous)
    repeats = part.repeats * max(fewest, most or 0, 1)
    if repeats > MOST_REPEATS:
        raise UnboundedRegexError(f"repeats something more than {MOST_REPEATS} times")
    return _Path(
        variable=part.variable or fewest != most,
        unbounded=part.unbounded * max(1, most or 1) + unbounded,
        repeats=repeats,
        wide=part.wide or (unbounded and _reads_words(source)),
        mandatory=part.mandatory and fewest > 0,
        ambiguous=ambiguous,
    )


@cache
def _reads_words(source: str) -> bool:
    """Whether repeats of a part of a pattern match letters and spaces alike."""
    try:
        split = pre_tokenizers.Split(Regex(f"(?:{source})+"), "removed")
        return not split.pre_tokenize_str(_WORDS)
    except Exception:  # the library raises bare Exception for a part that it cannot read
        return True
