"""Tokenizer classes that transformers 5 builds anew from the vocabulary of tokenizer.json.

For most classes tokenizer.json holds as it is. A few take only its vocabulary, merges and
post-processor, and bring the rest, special tokens included, as it is written here. What is in
`_IN_CODE` is built by code that nobody wrote here: such a class is refused by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from sala_compile.runtime.common.json_text import is_object, quoted
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.text.tokenizers.library_calls import library_errors
from sala_compile.runtime.text.tokenizers.special_tokens import Token, text_of
from sala_compile.runtime.text.tokenizers.tokenizer_files import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    TokenizerFiles,
)

_SPACE = "\u2581"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_IN_CODE = frozenset(
    """
    Albert Bart Barthez Bartpho Bert BertGeneration BertJapanese Bertweet BigBird BioGpt
    Blenderbot BlenderbotSmall ByT5 CLIP CTRL Camembert Canine Clvp CodeLlama CpmAnt Cpm
    DPRQuestionEncoder Deberta DebertaV2 Dia Esm Esmc FNet FSMT Flaubert Funnel
    GPTNeoXJapanese GPTSw3 Herbert LED Lasr LayoutLMv2 LayoutLMv3 LayoutXLM Luke Lxmert M2M100
    MBart50 MBart MLuke MPNet Marian MarkupLM Mgpstr MobileBert Mvp MyT5 Nllb Nougat OpenAIGPT
    PLBart Parakeet Pegasus Perceiver Phobert ProphetNet Rag Reformer RemBert RoCBert RoFormer
    Roberta SeamlessM4T Siglip Siglip2 Speech2Text SpeechT5 Splinter T5 Tapas Tipsv2 Udop
    VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper XGLM XLM XLMRoberta XLNet
    """.split()  # noqa: SIM905  (84 lines otherwise)
)
_AS_IT_STANDS = ("PreTrained", "TokenizersBackend", "Bloom")
_SUFFIX = "Tokenizer"


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """A class that brings its own parts: `build` makes them, `defaults` are its special tokens.

    `adds_again` says how each special token is added once more after all were added.
    With `bare` nothing is added around a text, even if tokenizer.json says so.
    """

    build: Callable[[dict[str, Any], dict[str, Any]], tokenizers.Tokenizer]
    defaults: dict[str, str | None] = field(default_factory=dict[str, str | None])
    adds_again: Callable[[Token], AddedToken] | None = None
    bare: bool = False


def reads_as_it_is(class_name: object) -> bool:
    """Whether tokenizer.json holds as it is for a class of this name."""
    if not isinstance(class_name, str):
        return False
    name = class_name.removesuffix("Fast").removesuffix(_SUFFIX)
    return name not in _IN_CODE and name not in _CLASSES


def tokenizer_class(files: TokenizerFiles) -> TokenizerClass | None:
    """The class that tokenizer_config.json names, None if tokenizer.json holds as it is.

    ArtifactError for one whose tokenizer is made by code that is not here.
    """
    found = files.config.get("tokenizer_class")
    _check_code(files, found)
    if found is None:
        return None
    if not isinstance(found, str):
        raise _refused(files, f"tokenizer_class is {quoted(found)}")
    name = found.removesuffix("Fast").removesuffix(_SUFFIX)
    if name in _IN_CODE:
        raise _refused(files, f"the tokenizer class {found} builds its tokenizer in code")
    if name == "Llama" and b'"ByteLevel"' in (files.read(TOKENIZER_FILE) or b""):
        return None
    return _CLASSES.get(name)


def _check_code(files: TokenizerFiles, class_name: object) -> None:
    """Refuse a tokenizer that is code of the checkpoint, or that is in a file of another name.

    Where transformers has the class itself, it leaves that code alone unless it is trusted.
    """
    code = files.config.get("auto_map")
    code = code.get("AutoTokenizer") if is_object(code) else code
    name = str(class_name).removesuffix("Fast").removesuffix(_SUFFIX)
    if code is not None and name not in (*_CLASSES, *_AS_IT_STANDS):
        raise _refused(
            files, f"the tokenizer is code of the checkpoint: {quoted(code)}", "auto_map"
        )
    others = files.config.get("fast_tokenizer_files")
    if others is not None and others != [TOKENIZER_FILE]:
        raise _refused(files, f"the tokenizer is in {quoted(others)}", "fast_tokenizer_files")


def build(
    files: TokenizerFiles, made: TokenizerClass, special: dict[str, str]
) -> tokenizers.Tokenizer:
    """The tokenizer that the class `made` builds from the vocabulary of tokenizer.json.

    `special` has the text of each special token by its part.
    """
    document = files.tokenizer or {}
    model = document.get("model")
    if not is_object(model) or model.get("type", "BPE") != "BPE":
        raise _refused(
            files, "the tokenizer class needs a vocabulary of BPE", "model", TOKENIZER_FILE
        )
    with library_errors(
        ArtifactError, "the tokenizer cannot be built", where=files.where(TOKENIZER_FILE)
    ):
        return made.build(model, files.config | {"unk_token": special.get("unk_token")})


def _refused(
    files: TokenizerFiles, found: str, name: str = "tokenizer_class", file: str = CONFIG_FILE
) -> ArtifactError:
    return ArtifactError(
        found,
        where=f"{files.where(file)}: {name}",
        expected=f"{', '.join(f'{name}{_SUFFIX}' for name in _CLASSES)}, or PreTrainedTokenizerFast"
        " where tokenizer.json holds as it is",
        fix="load the tokenizer with transformers, save its `backend_tokenizer` as tokenizer.json, "
        "and name the class PreTrainedTokenizerFast",
    )


def _model(model: dict[str, Any], **options: Any) -> tokenizers.Tokenizer:
    pairs = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
    merges = [(left, right) for left, right in pairs]
    return tokenizers.Tokenizer(models.BPE(vocab=model["vocab"], merges=merges, **options))


def _llama(model: dict[str, Any], config: dict[str, Any]) -> tokenizers.Tokenizer:
    core = _model(model, fuse_unk=True, byte_fallback=True)
    prefixed = config.get("add_prefix_space") in (None, True)
    scheme = "never" if not prefixed else "always" if config.get("legacy", False) else "first"
    core.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme=scheme, split=False)
    parts: list[Any] = [
        decoders.Replace(_SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    core.decoder = decoders.Sequence(parts + [decoders.Strip(" ", 1, 0)] * prefixed)
    return core


def _gemma(model: dict[str, Any], config: dict[str, Any]) -> tokenizers.Tokenizer:
    unknown = str(config["unk_token"])
    core = _model(model, fuse_unk=True, byte_fallback=True, unk_token=unknown)
    core.normalizer = normalizers.Replace(" ", _SPACE)
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    core.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return core


def _gpt2(model: dict[str, Any], config: dict[str, Any]) -> tokenizers.Tokenizer:
    core = _byte_level(model)
    prefixed = bool(config.get("add_prefix_space", False))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefixed)
    return core


def _gpt_neox(model: dict[str, Any], config: dict[str, Any]) -> tokenizers.Tokenizer:
    core = _gpt2(model, config)
    core.normalizer = normalizers.NFC()
    return core


def _cohere(model: dict[str, Any], config: dict[str, Any]) -> tokenizers.Tokenizer:
    core = _gpt_neox(model, config)
    digits = pre_tokenizers.Digits(individual_digits=True)
    core.pre_tokenizer = pre_tokenizers.Sequence([digits, core.pre_tokenizer])
    return core


def _qwen(letters: str) -> Callable[[dict[str, Any], dict[str, Any]], tokenizers.Tokenizer]:
    outside = letters.strip("[]")
    pieces = (
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{letters}+|\p{{N}}"
        rf"| ?[^\s{outside}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )

    def build_qwen(model: dict[str, Any], config: dict[str, Any]) -> tokenizers.Tokenizer:
        core = _byte_level(model)
        core.normalizer = normalizers.NFC()
        prefixed = bool(config.get("add_prefix_space", False))
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pieces), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=prefixed, use_regex=False),
            ]
        )
        return core

    return build_qwen


def _byte_level(model: dict[str, Any]) -> tokenizers.Tokenizer:
    core = _model(model, continuing_subword_prefix="", end_of_word_suffix="")
    core.decoder = decoders.ByteLevel()
    return core


def _plain(token: Token) -> AddedToken:
    return AddedToken(text_of(token), special=True)


def _special(token: Token) -> AddedToken:
    return _plain(token) if isinstance(token, str) else token


def _parts(**texts: str | None) -> dict[str, str | None]:
    return {f"{part}_token": text for part, text in texts.items()}


_END = "<|endoftext|>"
_QWEN = _parts(unk=_END, bos=None, eos=_END, pad=_END)
_CLASSES = {
    "Llama": TokenizerClass(_llama, _parts(unk="<unk>", bos="<s>", eos="</s>")),
    "Gemma": TokenizerClass(
        _gemma, _parts(unk="<unk>", bos="<bos>", eos="<eos>", pad="<pad>", mask="<mask>")
    ),
    "GPT2": TokenizerClass(_gpt2, _parts(unk=_END, bos=_END, eos=_END, pad=None)),
    "GPTNeoX": TokenizerClass(
        _gpt_neox, _parts(unk=_END, bos=_END, eos=_END, pad="<|padding|>"), bare=True
    ),
    "Qwen2": TokenizerClass(_qwen(r"\p{L}"), _QWEN, _plain),
    "Qwen3_5": TokenizerClass(_qwen(r"[\p{L}\p{M}]"), _QWEN),
    "Cohere": TokenizerClass(
        _cohere,
        _parts(
            **{"unk": "<UNK>", "bos": "<BOS_TOKEN>", "eos": "<|END_OF_TURN_TOKEN|>"},
            **{"pad": "<PAD>", "cls": "<CLS>", "sep": "<SEP>", "mask": "<MASK_TOKEN>"},
        ),
        _special,
    ),
}
