"""What a checkpoint says about texts: its tokenizer, and the tokens that end an answer."""

from collections.abc import Sequence
from pathlib import Path

from sala_compile.runtime.common.files import FileRule, stands
from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import ArtifactError, CheckpointError, ConfigError
from sala_compile.runtime.generation.generation_config import (
    GENERATION_BYTES,
    GENERATION_FILE,
    GenerationDefaults,
    parse_generation_config,
)
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.classes import reads_as_it_is
from sala_compile.runtime.text.tokenizers.tokenizer_files import (
    CONFIG_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
)

_ONLY_A_MODEL = (
    f"{MODEL_FILE} is not read, and there is no {TOKENIZER_FILE}: the artifact takes and gives "
    "token ids; to have texts, load the tokenizer with transformers and save it"
)


def check_tokenizer(
    directory: Path, rows: int | None = None, class_name: object = None
) -> list[str]:
    """Load the tokenizer of a checkpoint, if it has one; notes on what its users will wonder about.

    `rows` are the tokens that the model has, None if that is not known; `class_name` is the
    tokenizer class that config.json names. CheckpointError if the tokenizer is damaged.
    """
    if not Tokenizer.exists(directory):
        return [_ONLY_A_MODEL] if stands(directory / MODEL_FILE) else []
    try:
        tokenizer = Tokenizer.from_files(directory)
    except ArtifactError as error:
        raise CheckpointError(
            error.found,
            where=error.where,
            expected=error.expected,
            fix="download the file again, or remove tokenizer.json: an artifact without it takes "
            "and gives token ids",
        ) from None
    _check_class(directory, tokenizer, class_name)
    largest = tokenizer.largest_id
    if rows is None or largest < rows:
        return []
    return [
        f"the tokenizer has ids up to {largest}, the model rows for {rows} tokens: a text with one "
        f"of the tokens from {rows} on is refused when it runs"
    ]


def _check_class(directory: Path, tokenizer: Tokenizer, class_name: object) -> None:
    """Refuse a class that only config.json names, and that reads tokenizer.json otherwise."""
    if class_name is None or tokenizer.config.get("tokenizer_class") is not None:
        return
    if reads_as_it_is(class_name):
        return
    raise CheckpointError(
        f"only config.json names the tokenizer class {quoted(class_name)}, and an artifact has no "
        "config.json",
        where=str(directory / CONFIG_FILE),
        expected="tokenizer_class",
        fix=f"copy tokenizer_class from config.json to {CONFIG_FILE}",
    )


def end_tokens(directory: Path, default: Sequence[int]) -> tuple[int, ...]:
    """The tokens that end an answer: those of generation_config.json, if it names some.

    It overrules `default`, those of config.json, as in Hugging Face's `generate`. ConfigError
    where a field of it has no meaning.
    """
    found = _asked(directory).eos
    return tuple(default) if found is None else found


def generation_notes(directory: Path) -> tuple[str, ...]:
    """What generation_config.json requests of an answer and no answer gets."""
    return _asked(directory).notes


def _asked(directory: Path) -> GenerationDefaults:
    path = directory / GENERATION_FILE
    if not stands(path):
        return GenerationDefaults()
    rule = FileRule(what=GENERATION_FILE, limit=GENERATION_BYTES, error=ConfigError)
    return parse_generation_config(rule.read(path), str(path))
