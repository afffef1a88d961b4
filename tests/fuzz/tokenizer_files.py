"""Tokenizer directories of the kinds that checkpoints have, small and whole."""

import json
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from tests.support.tokenizers import BOS, EOS, byte_level, llama

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_tokenizers(directory: Path) -> None:
    """One directory for each kind."""
    kinds = {
        "bytes": byte_level([("a", "b"), ("ab", "c"), ("Ġ", "a")]),
        "llama": llama(),
        "words": _words(),
        "pieces": _pieces(),
        "unigram": _unigram(),
    }
    for name, core in kinds.items():
        folder = directory / name
        folder.mkdir(parents=True)
        core.save(str(folder / "tokenizer.json"))
        for file, content in _companions(core, CLASSES.get(name, PLAIN)).items():
            (folder / file).write_text(json.dumps(content))
        (folder / "chat_template.jinja").write_text(TEMPLATE)


PLAIN = "PreTrainedTokenizerFast"
CLASSES = {"llama": "LlamaTokenizer", "bytes": "GPT2Tokenizer"}


def _companions(core: tokenizers.Tokenizer, kind: str) -> dict[str, object]:
    bos, eos = core.token_to_id(BOS), core.token_to_id(EOS)
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {
        "tokenizer_config.json": {
            "tokenizer_class": kind,
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": {"content": BOS, **flags},
            "eos_token": EOS,
            "unk_token": "<unk>",
            "additional_special_tokens": ["<|user|>"],
            "extra_special_tokens": {"image_token": "<|image|>"},
            "added_tokens_decoder": {str(bos): {"content": BOS, **flags, "special": True}},
            "clean_up_tokenization_spaces": False,
            "model_max_length": 4096,
            "legacy": True,
            "chat_template": [{"name": "default", "template": TEMPLATE}],
        },
        "special_tokens_map.json": {
            "bos_token": BOS,
            "eos_token": {"content": EOS, **flags},
            "additional_special_tokens": ["<|user|>", {"content": "<|tool|>", **flags}],
        },
        "added_tokens.json": {BOS: bos, "<|added|>": core.get_vocab_size()},
        "generation_config.json": {
            "eos_token_id": [eos, 1],
            "bos_token_id": bos,
            "pad_token_id": None,
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.05,
            "repetition_penalty": 1.1,
            "max_new_tokens": 64,
        },
    }


def _words() -> tokenizers.Tokenizer:
    words = ["<unk>", BOS, EOS, "the", "key", "is", "here", ".", "1", "2"]
    core = tokenizers.Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(True),
        ]
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, 1), (EOS, 2)]
    )
    core.add_special_tokens([BOS, EOS, AddedToken("<|user|>", lstrip=True, rstrip=True)])
    return core


def _pieces() -> tokenizers.Tokenizer:
    pieces = ["<unk>", BOS, EOS, "the", "key", "##s", "##e", "a", "b", "c", "##a", "##b"]
    core = tokenizers.Tokenizer(
        models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>")
    )
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    core.add_special_tokens([BOS, EOS])
    return core


def _unigram() -> tokenizers.Tokenizer:
    pieces = [("<unk>", 0.0), (BOS, 0.0), (EOS, 0.0), ("\u2581", -2.0), ("\u2581the", -3.0)]
    pieces += [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    core = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(r"\s+|\p{L}+|\p{N}{1,3}"), "isolated"),
            pre_tokenizers.Metaspace(),
        ]
    )
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    core.add_special_tokens([BOS, EOS])
    return core
