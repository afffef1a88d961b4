"""The reader of JSON that others wrote: what it takes, and one message for all else."""

import json
import tracemalloc

import pytest

from sala_compile.runtime.common.json_text import (
    JsonLimits,
    json_kind,
    parse_json,
    parse_object,
    quoted,
)
from sala_compile.runtime.errors import ArtifactError, CheckpointError, ConfigError

GOOD = (
    (b'{"a": [1, -2.5e3, null, true, "\\u00e9"]}', {"a": [1, -2500.0, None, True, "\u00e9"]}),
    (b'\xef\xbb\xbf{"bom": 1}', {"bom": 1}),
    (b'"\\ud83d\\ude00"', "\U0001f600"),
    (b"9" * 100, int("9" * 100)),
    (b"0." + b"1" * 90, 1 / 9),
    ("[]", []),
    (b"[" * 64 + b"]" * 64, None),
)

BAD = {
    "nothing": (b"", "not JSON"),
    "text behind": (b"{} {}", "not JSON"),
    "open": (b'{"a": [1, 2', "not JSON"),
    "65 levels": (b"[" * 65 + b"]" * 65, "levels deep"),
    "65 objects": (b'{"a":' * 65 + b"1" + b"}" * 65, "levels deep"),
    "900 levels": (b"[" * 900 + b"]" * 900, "deep"),
    "100 000 levels": (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    "100 000 open levels": (b"[" * 100_000, "nested too deeply"),
    "5000 digits": (b'{"a": ' + b"7" * 5000 + b"}", "5000 characters"),
    "5000 digits behind a point": (b"0." + b"7" * 5000, "5002 characters"),
    "a million digits": (b"-" + b"7" * 1_000_000, "1000001 characters"),
    "1e999": (b"[1e999]", "1e999"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "Infinity": (b"[-Infinity]", "-Infinity"),
    "twice": (b'{"rope_theta": 1, "b": {"c": 1, "c": 1}}', "'c' twice"),
    "not UTF-8": (b'{"a": "\xff"}', "byte 7"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "half a pair": (b'{"\\ud800": 1}', "surrogate"),
    "half a pair in a text": ('["\ud800"]', "not UTF-8"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
}


@pytest.mark.parametrize(("data", "value"), GOOD)
def test_json_is_read_as_python_reads_it(data: bytes | str, value: object):
    found = parse_json(data, "here")
    assert value is None or found == value


@pytest.mark.parametrize(("data", "told"), BAD.values(), ids=BAD)
def test_what_is_no_json_is_one_error_that_tells_the_place(data: bytes | str, told: str):
    with pytest.raises(CheckpointError) as caught:
        parse_json(data, "dir/config.json", CheckpointError)
    assert told in caught.value.found
    assert caught.value.where == "dir/config.json"
    assert len(str(caught.value)) < 1000


def test_size_and_number_of_values_are_limited_before_anything_is_parsed():
    limits = JsonLimits(size=100, values=10)
    assert parse_json(b"[1,2,3,4,5,6,7,8]", "here", limits=limits) == list(range(1, 9))
    with pytest.raises(ConfigError, match="11 values"):
        parse_json(b"[" + b"1," * 8 + b"[1]]", "here", limits=limits)
    with pytest.raises(ConfigError, match="101 bytes"):
        parse_json(b" " * 101, "here", limits=limits)


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'{"a":0},', b'"ab",', b"1.5,", b"[[]],"])
def test_a_document_within_the_limits_takes_little_memory(piece: bytes):
    count = 90_000 // (piece.count(b",") + piece.count(b"[") + piece.count(b"{"))
    data = b"[" + piece * count + b"0]"
    tracemalloc.start()
    parse_json(data, "here", limits=JsonLimits(values=100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 * 90_000 + 4 * len(data)


def test_an_object_is_asked_for():
    assert parse_object(b'{"a": 1}', "here") == {"a": 1}
    kinds = {
        b"[1]": "a list",
        b'"x"': "a text",
        b"null": "null",
        b"true": "true",
        b"1.5": "a number",
    }
    for data, kind in kinds.items():
        with pytest.raises(ArtifactError, match=f"holds {kind}"):
            parse_object(data, "here", ArtifactError)


def test_messages_quote_little():
    assert quoted("abc") == "'abc'"
    assert len(quoted(["x"] * 100_000)) <= 80
    assert quoted(10**5000) == "an integer of 16610 bits"
    assert quoted([10**5000]) == "a list"
    deep = json.loads("[" * 500 + "]" * 500)
    assert len(quoted(deep)) <= 80
    assert json_kind({}) == "an object"
