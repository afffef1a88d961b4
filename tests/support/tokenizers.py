"""Small tokenizers of the two kinds that published checkpoints use."""

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

BOS, EOS = "<s>", "</s>"


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


def llama() -> tokenizers.Tokenizer:
    """Words with a leading space mark and bytes for the rest; the decoder drops a first space."""
    words = ["<unk>", BOS, EOS, "\u2581", "\u2581Hi", "\u2581there", "!", "\u2581\u2581", "x"]
    vocabulary = {word: i for i, word in enumerate(words)}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    core = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    core.add_special_tokens([BOS, EOS])
    return core
