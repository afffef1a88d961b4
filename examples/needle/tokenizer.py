"""The example's tokenizer: the words of its texts, and bytes for everything else."""

import json
import shutil
from functools import cache
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, processors

from examples.needle.words import spelled_words

SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
BOS, EOS = 1, (2, 4)

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
"""How the messages of a chat become a text."""

PIECES = r" ?\d{1,2}| ?\p{L}+| ?[^\s\p{L}\d]+|\s"
"""What is looked up as one token: words and pairs of digits with the space before them."""


def byte_spelling(text: str) -> str:
    """Return an ASCII text as byte-level tokenizers spell it."""
    return text.replace(" ", "\u0120").replace("\n", "\u010a")


@cache
def vocabulary() -> dict[str, int]:
    """Return the special tokens, the bytes, and the words: spelling to token id."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = (" .", " ?")
    words = (byte_spelling(word) for word in (*spelled_words(), *marks))
    return {token: index for index, token in enumerate((*SPECIAL, *letters, *words))}


def build_tokenizer() -> tokenizers.Tokenizer:
    """Return the tokenizer; a text begins with `<s>`, and words it does not know are bytes."""
    core = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary(), merges=[], unk_token=SPECIAL[0], ignore_merges=True)
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    return core


def write_tokenizer(directory: Path) -> None:
    """Write the tokenizer, chat template and generation files of a checkpoint."""
    build_tokenizer().save(str(directory / "tokenizer.json"))
    shutil.copyfile(TEMPLATE, directory / TEMPLATE.name)
    settings = {
        "tokenizer_config.json": {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": SPECIAL[BOS],
            "eos_token": SPECIAL[EOS[0]],
            "unk_token": SPECIAL[0],
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
        "generation_config.json": {
            "bos_token_id": BOS,
            "eos_token_id": list(EOS),
            "pad_token_id": EOS[0],
            "do_sample": False,
        },
    }
    for name, values in settings.items():
        (directory / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
