"""What a checkpoint says about texts: its tokenizer, and the tokens that end an answer."""

from collections.abc import Sequence
from pathlib import Path

from runtime.errors import ArtifactError, CheckpointError, ConfigError
from runtime.files import stands
from runtime.text.files import MODEL_FILE, TOKENIZER_FILE
from runtime.tokenizer import Tokenizer
from sala_ir.frontends import read_config

GENERATION_FILE = "generation_config.json"


def check_tokenizer(directory: Path) -> None:
    """Load the tokenizer of a checkpoint, if it has one; CheckpointError where it is damaged."""
    if not Tokenizer.exists(directory):
        return
    try:
        Tokenizer.from_files(directory)
    except ArtifactError as error:
        raise CheckpointError(
            error.found,
            where=error.where,
            expected=error.expected,
            fix="download the file again, or remove tokenizer.json: an artifact without it takes "
            "and gives token ids",
        ) from None


def tokenizer_notes(directory: Path, rows: int) -> list[str]:
    """What users will wonder about: a tokenizer that is missing, or has more than `rows` tokens."""
    if not Tokenizer.exists(directory):
        if not stands(directory / MODEL_FILE):
            return []
        return [
            f"{MODEL_FILE} is not read, and there is no {TOKENIZER_FILE}: the artifact takes and "
            "gives token ids; to have texts, load the tokenizer with transformers and save it"
        ]
    largest = Tokenizer.from_files(directory).largest_id
    if largest < rows:
        return []
    return [
        f"the tokenizer has ids up to {largest}, the model rows for {rows} tokens: a text with one "
        f"of the tokens from {rows} on is refused when it runs"
    ]


def end_tokens(directory: Path, default: Sequence[int]) -> tuple[int, ...]:
    """The tokens that end an answer: those of generation_config.json, where it names some.

    It overrules `default`, those of config.json, as in Hugging Face's `generate`. ConfigError for
    anything but token ids.
    """
    path = directory / GENERATION_FILE
    found = read_config(path).get("eos_token_id") if path.is_file() else None
    if found is None:
        return tuple(default)
    ids = found if isinstance(found, list) else [found]
    if not all(type(token) is int and token >= 0 for token in ids):
        raise ConfigError(
            f"eos_token_id is {found!r}",
            where=f"{path}: eos_token_id",
            expected="a token id, or a list of token ids",
            fix="correct the field, or remove it: then that of config.json holds",
        )
    return tuple(ids)
