"""A text that goes on where another one ends: nothing is put between the two."""

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors

from sala_compile.runtime.cli.prompt import Ask
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.tokenizers import (
    BOS,
    EOS,
    KINDS,
    SPACE,
    byte_level,
    letters,
    llama,
    token_id,
    unigram,
    with_plain_tokens,
    word_piece,
)

SEAMS = (
    *(("the key", "s are"), ("the key", " is red"), ("foo(", "bar"), ("line", "\nnext")),
    *(
        ("a", "  b"),
        ("a ", "b"),
        ("a ", " b"),
        ("\u4f60", "\u597d"),
        ("\u4f60", "a"),
        ("a", "\u4f60"),
    ),
    *(("x", ""), ("a", " "), ("a", "\u00e9e\u0301"), ("<", "think>")),
)


def _bos(core: tokenizers.Tokenizer, single: str = f"{BOS} $A") -> tokenizers.Tokenizer:
    core.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(name, token_id(core, name)) for name in (BOS, EOS)]
    )
    return core


@pytest.mark.parametrize(
    ("before", "text"), [("a", " b"), ("a", "b c"), ("a", "b"), ("a b", " c b")]
)
def test_a_mark_that_stands_for_a_dropped_space_is_kept(before: str, text: str):
    core = llama(letters())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(SPACE, "always")]
    )
    tokenizer = Tokenizer(core, {})
    ids = tokenizer.encode(before)
    assert ids + tokenizer.encode_continuation(text, ids) == tokenizer.encode(before + text)
    assert ids + tokenizer.encode_continuation(f"{text} {BOS} c", ids) == tokenizer.encode(
        f"{before}{text} {BOS} c"
    )


LOSSLESS = [name for name in KINDS if name != "word piece"]


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize(("before", "text"), SEAMS)
def test_the_joined_ids_are_the_joined_text(name: str, before: str, text: str):
    tokenizer = Tokenizer(_bos(KINDS[name]()), {})
    ids = tokenizer.encode(before)
    for tail in (tokenizer.encode_continuation(text, ids), tokenizer.encode_continuation(text)):
        assert tokenizer.decode([*ids, *tail]) == tokenizer.decode(ids) + text
        assert token_id(tokenizer.core, BOS) not in tail


@pytest.mark.parametrize("name", LOSSLESS)
@given(before=st.text("abc .!\n\u4f60\u00e9", min_size=1), text=st.text("abc .!\n\u4f60\u00e9"))
def test_any_text_goes_on(name: str, before: str, text: str):
    tokenizer = Tokenizer(_bos(KINDS[name]()), {})
    ids = tokenizer.encode(f"a{before}")
    tail = tokenizer.encode_continuation(text, ids)
    assert tokenizer.decode([*ids, *tail]) == tokenizer.decode(ids) + text


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("before", "text"),
    [("the", " key"), ("the key", "! a"), ("a b", " c<|end|>d"), ("a", "<|end|> b<think>c")],
)
def test_where_no_token_spans_the_seam_it_is_the_tail_of_the_whole(
    name: str, before: str, text: str
):
    tokenizer = Tokenizer(with_plain_tokens(_bos(KINDS[name]())), {})
    ids, whole = tokenizer.encode(before), tokenizer.encode(before + text)
    assert whole[: len(ids)] == ids
    assert tokenizer.encode_continuation(text, ids) == whole[len(ids) :]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("text", ["b", " b", "<|end|>b", "\nb", "b<think> c"])
def test_behind_an_added_token_it_is_the_tail_of_the_whole(name: str, text: str):
    tokenizer = Tokenizer(with_plain_tokens(_bos(KINDS[name]())), {})
    for before in ("a<|end|>", "a<think>", f"{EOS}", "a <|end|><think>"):
        ids, whole = tokenizer.encode(before), tokenizer.encode(before + text)
        assert tokenizer.encode_continuation(text, ids) == whole[len(ids) :]


@pytest.mark.parametrize("name", KINDS)
def test_behind_nothing_a_text_begins(name: str):
    tokenizer = Tokenizer(_bos(KINDS[name](), f"{BOS} $A {EOS}"), {})
    beginning = tokenizer.encode("the key", special=False)
    for before in ([], tokenizer.encode("")[:1], tokenizer.encode("")):
        assert tokenizer.encode_continuation("the key", before) == beginning


def test_a_word_goes_on_where_its_inside_is_spelled_otherwise():
    tokenizer = Tokenizer(word_piece(), {})
    for before, text in (
        ("the key", "s are"),
        ("a", "bc"),
        ("key", " s"),
        ("a.", "b"),
        ("a", ".b"),
    ):
        ids = tokenizer.encode(before)
        tail = tokenizer.encode_continuation(text, ids)
        expected = tokenizer.decode(tokenizer.encode(before + text))
        assert tokenizer.decode([*ids, *tail]) == expected


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.Replace(Regex("^"), SPACE),
        normalizers.Replace(Regex("^(?! )"), " "),
        normalizers.Sequence([normalizers.Strip(), normalizers.Prepend(SPACE)]),
        normalizers.Sequence([normalizers.Sequence([normalizers.Prepend(SPACE)])]),
    ],
)
def test_every_way_to_change_the_beginning_is_known(normalizer: normalizers.Normalizer):
    core = llama(letters())
    core.normalizer = normalizers.Sequence([normalizer, normalizers.Replace(" ", SPACE)])
    tokenizer = Tokenizer(core, {})
    ids = tokenizer.encode("the key")
    for text in ("s are", " is red"):
        tail = tokenizer.encode_continuation(text, ids)
        assert tokenizer.decode([*ids, *tail]) == f"the key{text}"


def test_a_prefix_space_of_bytes_is_left_out():
    core = byte_level()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer = Tokenizer(core, {})
    assert tokenizer.decode(tokenizer.encode("s are")) == " s are"
    assert tokenizer.decode(tokenizer.encode_continuation("s are")) == "s are"


def test_the_model_is_shared_and_the_tokenizer_stays_as_it_is():
    tokenizer = Tokenizer(with_plain_tokens(unigram()), {})
    before = tokenizer.core.to_str()
    assert tokenizer.encode_continuation("b<think>c", [5])
    assert tokenizer.core.to_str() == before


def test_what_an_unknown_character_becomes_is_no_added_token():
    vocabulary = {"<unk>": 0, SPACE: 1, "a": 2, "b": 3}
    core = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    core.add_special_tokens([AddedToken("<unk>", special=True)])
    assert Tokenizer(core, {}).encode_continuation("a?b", [2]) == [2, 0, 3]


def test_special_tokens_that_are_split_stay_split():
    core = with_plain_tokens(llama(letters("<|end>")))
    core.encode_special_tokens = True
    tokenizer = Tokenizer(core, {})
    tail = tokenizer.encode_continuation("<|end|>", tokenizer.encode("e"))
    assert len(tail) == len("<|end|>")


def test_a_prompt_that_continues_goes_behind_what_is_there(tmp_path):
    core = _bos(with_plain_tokens(llama(letters())))
    core.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_files(tmp_path)
    known = Ask(text="the key").token_ids(tmp_path)
    more = Ask(text="s are", continues=True)
    for before in (None, known):
        assert tokenizer.decode([*known, *more.token_ids(tmp_path, before)]) == "the keys are"
    ended = tokenizer.encode("the key<|end|>")
    assert more.token_ids(tmp_path, ended) == tokenizer.encode("the key<|end|>s are")[len(ended) :]
