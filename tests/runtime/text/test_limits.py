"""Tokenizers that are made to explode are refused when they are loaded; published ones are not."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.regexes import UnboundedRegexError, check_regex
from sala_compile.runtime.text.tokenizers.tokenizer_limits import check_limits
from tests.support.tokenizers import byte_level

# What published tokenizers split words with.
PUBLISHED = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+""",
    " ?[^(\\s|[.,!?\u2026\u3002])]+",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"\d{3}(?=(?:\d{3})*\b)",
    r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))",
    r"\p{Han}+|[\p{Lu}\p{Lt}&&[^\p{Han}]]+|[^]x]+|[]x]",
    r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}|\s*[\r\n]|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s+(?!\S)|\s",
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}&&[^\p{Han}]]+",
    *(r"(?=(\d{3})+(?!\d))", r"(?:^|(?<=\D))\d{1,2}(?=(?:\d{3})+(?!\d))", r"\s?[!-/:-~]+", r"\s+$"),
    *(r"(?:\r?\n)+", r"(?:\p{L}|\p{M})+|\d", r"(?:x(?:a|aa)*)*", r"(IMGIMG)((A|B|C){1,4})Z"),
    *(r" {2,}", r"\n*[^\n]+", r"<\|[a-z_]+\|>", r"(?:(?<=\s)|^)a", r"[\s\S]", r"(?s:.+)", ""),
)
EXPLODING = (
    *("(a+)+b", "(a*)*b", "(a|a)*b", "(a|aa)+$", r"(?:\s*\w+)*x", "(?:(?:a?){20}){20}", "(a?){50}"),
    *(".*.*x", r"[\s\S]*[\x00\x01]", r"([a-z ]+)\d", "a*b*c*d*e*f*", r"(?:.*\n?){10}x", "(?=.*x)"),
    *(r"(\w)\1+", r"(?<n>a\g<n>?b)", r"(?<n>a)\k<n>", "(?~abc)", "(?(1)a|b)"),
    *("a{1,100000}", "((a{30}){30}){30}", "a{99999999999}", "x" * 70_000, "(" * 100_000),
    *("a{1,3}+b", "(?:(?:a|aa)+)+$", "(?:(?:a|aa)*){2,}", "(?:(?:a|aa)+b)+", "(?:(?:a|aa)+|c)b"),
    *("((((x", "a)", "[abc", "[[a]", "a\\"),
)


@pytest.mark.parametrize("pattern", PUBLISHED)
def test_published_patterns_are_taken(pattern: str):
    check_regex(pattern)


@pytest.mark.parametrize("pattern", EXPLODING)
def test_patterns_without_a_bound_are_refused(pattern: str):
    with pytest.raises(UnboundedRegexError) as caught:
        check_regex(pattern)
    assert len(str(caught.value)) < 200


def _replace(found: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: found}, "content": content}


def _sequence(name: str, *parts: Any) -> dict[str, Any]:
    return {"type": "Sequence", name: list(parts)}


def _nested(name: str, levels: int) -> dict[str, Any]:
    part = {"type": "Lowercase"}
    for _ in range(levels):
        part = _sequence(name, part)
    return part


def _map(text: bytes) -> dict[str, Any]:
    table = (4).to_bytes(4, "little") + b"\0\0\0\0" + text
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


_TEXT, _MARK = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "x", "type_id": 0}}


def _template(*pieces: Any, ids: int = 1) -> dict[str, Any]:
    token = {"id": "x", "ids": [1] * ids, "tokens": ["x"] * ids}
    return {
        "type": "TemplateProcessing",
        "single": list(pieces),
        "pair": [],
        "special_tokens": {"x": token},
    }


def _added(content: str) -> dict[str, Any]:
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": 300, "content": content} | dict.fromkeys(flags, False)


BOMBS: dict[str, dict[str, Any]] = {
    "doubling": {"normalizer": _sequence("normalizers", *[_replace("a", "aa")] * 30)},
    "nested doubling": {
        "normalizer": _sequence(
            "normalizers", *[_sequence("normalizers", *[_replace("a", "aaaa")] * 3)] * 9
        )
    },
    "one large": {"normalizer": _replace("a", "b" * 100_000)},
    "between all": {"normalizer": _sequence("normalizers", *[_replace("", "bb", "Regex")] * 9)},
    "a long beginning": {"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}},
    "many": {"normalizer": _sequence("normalizers", *[{"type": "Lowercase"}] * 100_000)},
    "nested": {"normalizer": _sequence("normalizers", *[_nested("normalizers", 20)] * 9)},
    "compatibility": {"normalizer": _sequence("normalizers", *[{"type": "NFKD"}] * 60)},
    "characters": {"normalizer": _map(b"y" * 100_000)},
    "cut characters": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////"}},
    "no characters": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}},
    "growing decoder": {"decoder": _sequence("decoders", *[_replace("a", "aaa")] * 20)},
    "regex": {
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "(a+)+b"},
            "behavior": "Isolated",
            "invert": False,
        }
    },
    "regex of a normalizer": {"normalizer": _replace("(a+)+b", "", "Regex")},
    "regex of a decoder": {"decoder": _sequence("decoders", _replace("(a+)+b", "", "Regex"))},
    "text twice": {"post_processor": _template(_TEXT, _TEXT)},
    "doubling templates": {
        "post_processor": _sequence("processors", *[_template(_TEXT, _MARK, _TEXT)] * 30)
    },
    "much around": {"post_processor": _template(_TEXT, *[_MARK] * 200, ids=100)},
    "many added": {"added_tokens": [_added(f"<{i}>{'x' * 40}") for i in range(20_000)]},
    "a long one added": {"added_tokens": [_added("x" * 600_000)]},
    "a large tree": {
        "model": {
            "type": "Unigram",
            "unk_id": 0,
            "vocab": [[f"{i}" * 500, 0.0] for i in range(1500)],
        }
    },
    "long words": {"model": {"type": "WordPiece", "max_input_chars_per_word": 10**9}},
    "long inside": {"model": {"type": "BPE", "continuing_subword_prefix": "#" * 100_000}},
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_what_it_is_made_of(tmp_path: Path, name: str):
    document = json.loads(byte_level().to_str())
    model = document["model"] | BOMBS[name].get("model", {})
    (tmp_path / "tokenizer.json").write_text(json.dumps(document | BOMBS[name] | {"model": model}))
    with pytest.raises(ArtifactError, match="made to explode") as caught:
        Tokenizer.from_files(tmp_path)
    assert len(str(caught.value)) < 1000
    assert str(tmp_path / "tokenizer.json") in str(caught.value)


def test_added_tokens_of_other_files_count_too(tmp_path: Path):
    byte_level().save(str(tmp_path / "tokenizer.json"))
    tokens = [f"<{i}>{'x' * 40}" for i in range(20_000)]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"extra_special_tokens": tokens}))
    with pytest.raises(ArtifactError, match="the added tokens have"):
        Tokenizer.from_files(tmp_path)


def test_many_numbered_added_tokens_are_taken(tmp_path: Path):
    document = json.loads(byte_level().to_str())
    document["added_tokens"] += [_added(f"<|speech_token_{i:05}|>") for i in range(32768)]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = Tokenizer.from_files(tmp_path)
    (token,) = tokenizer.encode("<|speech_token_12345|>")
    assert tokenizer.core.id_to_token(token) == "<|speech_token_12345|>"


def test_pieces_that_share_their_beginnings_are_taken():
    pieces = [["x" * count, 0.0] for count in range(1, 3000)]
    check_limits({"model": {"type": "Unigram", "vocab": pieces}}, "tokenizer.json")


@pytest.mark.parametrize(
    "part",
    [
        *(None, 3, "x", [], {}, {"type": 3}, {"type": "Replace"}, _replace("a", "b" * 200)),
        {"type": "Replace", "pattern": 3, "content": "x"},
        {"type": "Replace", "pattern": "a", "content": "bb"},
        {"type": "Replace", "pattern": {"Regex": 3}, "content": 3},
        {"type": "Precompiled", "precompiled_charsmap": None},
        _map("\ufdfa".encode() * 5),
        _sequence("normalizers", None, 3, _nested("normalizers", 20)),
        _template(_MARK, _TEXT, _MARK),
        _template(None, {"SpecialToken": 3}, {"SpecialToken": {"id": 3}}),
        {"type": "TemplateProcessing", "single": 3, "special_tokens": 3},
        {"type": "TemplateProcessing", "single": [], "special_tokens": {"x": 3}},
    ],
)
def test_what_is_only_malformed_is_left_to_the_library(part: Any):
    for name in ("normalizer", "pre_tokenizer", "decoder", "post_processor", "model"):
        check_limits({name: part}, "tokenizer.json")


def test_the_needle_tokenizer_is_taken():
    place = Path(__file__).parents[3] / "examples" / "needle" / "checkpoint"
    assert Tokenizer.from_files(place).encode("The pass key")
