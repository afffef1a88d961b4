"""Limits of a tokenizer.json, so that its time and memory follow from the length of a text."""

import base64
import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from sala_compile.runtime.common.json_text import is_list, is_object
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.text.tokenizers.regexes import UnboundedRegexError, check_regex

MOST_PARTS = 64
"""Normalizers, pre-tokenizers, decoders or post-processors of a tokenizer, each kind for itself."""
MOST_GROWTH = 256
"""Characters that a normalizer or decoder may make of one."""
LONGEST_TEXT = 256
"""Characters of a text that a part inserts, or that replaces one character."""
MOST_AROUND = 1024
"""Tokens that may be around a text."""
LONGEST_WORD = 4096
"""Characters of a word that WordPiece compares with every piece."""
LONGEST_ADDED = 1024
"""Characters of an added token; the library may look as far ahead from each place of a text."""
MOST_ADDED = 1 << 19
"""Different beginnings, in bytes, of the added tokens; the library's search has a node for each."""
MOST_PREFIXES = 3 << 19
"""Different beginnings, in bytes, of the pieces of a Unigram vocabulary: a node of memory each."""

_LISTS = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "decoder": "decoders",
    "post_processor": "processors",
}
_COMPATIBILITY = 18  # characters that Unicode's compatibility decomposition makes of one


def check_limits(document: dict[str, Any], where: str) -> None:
    """ArtifactError if a tokenizer.json could take unbounded time or memory.

    What is merely malformed passes: the library says so.
    """
    for name, list_name in _LISTS.items():
        parts = list(_parts(document.get(name), list_name))
        if len(parts) > MOST_PARTS:
            raise _refused(where, name, f"has {len(parts)} parts", f"at most {MOST_PARTS}")
        growth = math.prod(_growth(part) for part in parts)
        if name in ("normalizer", "decoder") and growth > MOST_GROWTH:
            found = f"can make {growth:.0f} characters of one"
            raise _refused(where, name, found, f"at most {MOST_GROWTH}")
        for part in parts:
            _check_part(part, where, name)
    model = document.get("model")
    if is_object(model):
        _check_model(model, where)
    added = document.get("added_tokens")
    entries = added if is_list(added) else []
    contents = [entry.get("content") for entry in entries if is_object(entry)]
    check_added((text for text in contents if isinstance(text, str)), where)


def check_added(contents: Iterable[str], where: str) -> None:
    """ArtifactError if the added tokens `contents` are too many, or one is too long."""
    texts = list(contents)
    longest = max(map(len, texts), default=0)
    if longest > LONGEST_ADDED:
        found = f"an added token has {longest} characters"
        raise _refused(where, "added_tokens", found, f"at most {LONGEST_ADDED}")
    prefixes = _prefixes(texts, MOST_ADDED)
    if prefixes > MOST_ADDED:
        found = f"the added tokens have {prefixes} different beginnings"
        raise _refused(where, "added_tokens", found, f"at most {MOST_ADDED}")


def _parts(state: Any, list_name: str) -> Iterator[dict[str, Any]]:
    """The parts of a part, nested ones included; at most one more than is allowed."""
    waiting, found = [state], 0
    while waiting and found <= MOST_PARTS:
        state = waiting.pop()
        if not is_object(state):
            continue
        inner = state.get(list_name)
        if is_list(inner):
            waiting += reversed(inner[: MOST_PARTS + 1])
        found += 1
        yield state


def _growth(part: dict[str, Any]) -> float:
    """How many characters a part makes of one, at most."""
    if part.get("type") in ("NFKC", "NFKD"):
        return _COMPATIBILITY
    if part.get("type") != "Replace":
        return 1
    pattern, content = part.get("pattern"), part.get("content")
    if not isinstance(content, str):
        return 1
    text = pattern.get("String") if is_object(pattern) else pattern
    if isinstance(text, str) and text:
        return max(1.0, len(content) / len(text))
    return 1 + len(content)  # a regular expression can match before every character


def _check_part(part: dict[str, Any], where: str, name: str) -> None:
    kind = part.get("type")
    texts = [part.get(key) for key in ("content", "prepend", "prefix", "suffix")]
    longest = max((len(text) for text in texts if isinstance(text, str)), default=0)
    if longest > LONGEST_TEXT:
        raise _refused(where, name, f"{kind} puts in {longest} characters", f"{LONGEST_TEXT}")
    pattern = part.get("pattern")
    regex = pattern.get("Regex") if is_object(pattern) else None
    if isinstance(regex, str):
        try:
            check_regex(regex)
        except UnboundedRegexError as error:
            raise _refused(
                where, name, f"{kind}: the pattern {error}", "a pattern of bounded time"
            ) from None
    if kind == "Precompiled":
        _check_map(part.get("precompiled_charsmap"), where, name)
    if kind == "TemplateProcessing":
        _check_template(part, where, name)


def _check_map(packed: Any, where: str, name: str) -> None:
    """Refuse a table that replaces one character by a long text."""
    if not isinstance(packed, str):
        return
    try:
        table = base64.b64decode(packed, validate=True)
    except ValueError:
        raise _refused(where, name, "precompiled_charsmap is not base64") from None
    trie = int.from_bytes(table[:4], "little")
    if len(table) < 4 or trie % 4 or trie > len(table) - 4:
        raise _refused(where, name, "precompiled_charsmap is cut off")
    longest = max(len(text) for text in table[4 + trie :].split(b"\0"))
    if longest > 4 * LONGEST_TEXT:
        found = f"precompiled_charsmap has {longest} bytes for a character"
        raise _refused(where, name, found, f"at most {4 * LONGEST_TEXT}")


def _check_template(part: dict[str, Any], where: str, name: str) -> None:
    """Refuse a template that repeats the text, or puts many tokens around it."""
    single, tokens = part.get("single"), part.get("special_tokens")
    pieces = [piece for piece in single if is_object(piece)] if is_list(single) else []
    if sum("Sequence" in piece for piece in pieces) > 1:
        raise _refused(where, name, "the template has the text more than once")
    ids = {
        text: len(entry["ids"])
        for text, entry in (tokens.items() if is_object(tokens) else ())
        if is_object(entry) and is_list(entry.get("ids"))
    }
    around = 0
    for piece in pieces:
        special = piece.get("SpecialToken")
        text = special.get("id") if is_object(special) else None
        around += ids.get(text, 1) if isinstance(text, str) else 1
    if around > MOST_AROUND:
        raise _refused(where, name, f"puts {around} tokens around a text", f"at most {MOST_AROUND}")


def _check_model(model: dict[str, Any], where: str) -> None:
    longest = model.get("max_input_chars_per_word")
    if isinstance(longest, int) and longest > LONGEST_WORD:
        found = f"max_input_chars_per_word is {longest}"
        raise _refused(where, "model", found, f"at most {LONGEST_WORD}")
    pieces = model.get("vocab")
    if is_list(pieces):
        _check_pieces(pieces, where)
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        text = model.get(key)
        if isinstance(text, str) and len(text) > LONGEST_TEXT:
            found = f"{key} has {len(text)} characters"
            raise _refused(where, "model", found, f"at most {LONGEST_TEXT}")


def _check_pieces(pieces: list[Any], where: str) -> None:
    """Refuse a Unigram vocabulary whose tree of pieces is too large."""
    firsts = (piece[0] for piece in pieces if is_list(piece) and piece)
    prefixes = _prefixes((text for text in firsts if isinstance(text, str)), MOST_PREFIXES)
    if prefixes > MOST_PREFIXES:
        found = f"the pieces have {prefixes} different beginnings"
        raise _refused(where, "model", found, f"at most {MOST_PREFIXES}")


def _prefixes(contents: Iterable[str], most: int) -> int:
    """How many different beginnings the texts have, in bytes; up to `most` perhaps too few."""
    texts = [text.encode() for text in contents]
    total = sum(map(len, texts))
    if total <= most:
        return 0
    texts.sort()
    return total - sum(_shared(first, second) for first, second in pairwise(texts))


def _shared(first: bytes, second: bytes) -> int:
    """How many bytes at their beginning two texts share."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _refused(where: str, name: str, found: str, expected: str | None = None) -> ArtifactError:
    return ArtifactError(
        f"the tokenizer is made to explode, or damaged: {found}",
        where=f"{where}: {name}",
        expected=expected,
        fix="take the tokenizer.json that the model was published with",
    )
