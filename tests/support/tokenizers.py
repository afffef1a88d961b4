"""Small tokenizers of the kinds that published checkpoints use."""

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

BOS, EOS = "<s>", "</s>"
SPACE = "\u2581"


def byte_level(merges: list[tuple[str, str]] | None = None) -> tokenizers.Tokenizer:
    """One token a byte (and the merges), the way byte-level vocabularies spell them."""
    merges = merges or []
    vocabulary = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for pair in merges:
        vocabulary["".join(pair)] = len(vocabulary)
    core = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([BOS, EOS])
    return core


def llama(words: tuple[str, ...] = (), *, metaspace: str | None = None) -> tokenizers.Tokenizer:
    """Words with a leading space mark and bytes for the rest; the decoder drops a first space.

    The normalizer puts the first space there, or with `metaspace` the pre-tokenizer of that scheme.
    """
    known = ["<unk>", BOS, EOS, SPACE, f"{SPACE}Hi", f"{SPACE}there", "!", SPACE * 2, "x", *words]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(known))}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    core = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    if metaspace is None:
        core.normalizer = normalizers.Sequence(
            [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
        )
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, metaspace, split=False)
    core.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    core.add_special_tokens([BOS, EOS])
    return core


def letters(text: str = "abcdefghijklmnopqrstuvwxyz") -> tuple[str, ...]:
    """Words of one letter for `llama`."""
    return tuple(text)


def word_piece() -> tokenizers.Tokenizer:
    """Words of letters, whose inside is spelled with `##`."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    names = ["[UNK]", BOS, EOS, *alphabet, *(f"##{c}" for c in alphabet), *".,!?'", "key", "##s"]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys(names))}
    core = tokenizers.Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(cleanup=False)
    core.add_special_tokens([BOS, EOS])
    return core


def unigram() -> tokenizers.Tokenizer:
    """A SentencePiece-style Unigram vocabulary with bytes for the rest."""
    pieces = ["<unk>", BOS, EOS, SPACE, *"abcdefghijklmnopqrstuvwxyz.,!?'", f"{SPACE}key"]
    pieces += [f"<0x{byte:02X}>" for byte in range(256)]
    model = models.Unigram([(piece, -1.0) for piece in pieces], 0, byte_fallback=True)
    core = tokenizers.Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, "always")
    core.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(SPACE, "always"), decoders.Fuse()]
    )
    core.add_special_tokens([BOS, EOS])
    return core


KINDS = {
    "byte level": lambda: byte_level([("a", "b"), ("ab", "c")]),
    "llama": lambda: llama(letters()),
    "metaspace first": lambda: llama(letters(), metaspace="first"),
    "metaspace always": lambda: llama(letters(), metaspace="always"),
    "metaspace never": lambda: llama(letters(), metaspace="never"),
    "word piece": word_piece,
    "unigram": unigram,
}
"""Tokenizers by name, each made anew."""


def with_plain_tokens(core: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """`core` with added tokens that are part of a text, and with one that is special."""
    core.add_tokens([AddedToken("<think>", normalized=False), AddedToken("\ufffd\u4f60")])
    core.add_special_tokens([AddedToken("<|end|>", special=True)])
    return core


def token_id(core: tokenizers.Tokenizer, token: str) -> int:
    """The id of a token that is there."""
    found = core.token_to_id(token)
    assert found is not None, token
    return found
