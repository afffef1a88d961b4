"""What a checkpoint says about texts: its tokenizer, and the tokens that end an answer."""

from collections.abc import Sequence
from pathlib import Path

from runtime.errors import ArtifactError, CheckpointError, ConfigError
from runtime.files import FileRule, stands
from runtime.generation_config import (
    GENERATION_BYTES,
    GENERATION_FILE,
    parse_generation_config,
)
from runtime.tokenizer import Tokenizer


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


def end_tokens(directory: Path, default: Sequence[int]) -> tuple[int, ...]:
    """The tokens that end an answer: those of generation_config.json, where it names some.

    It overrules `default`, those of config.json, as in Hugging Face's `generate`. ConfigError
    where a field of it has no meaning.
    """
    path = directory / GENERATION_FILE
    if not stands(path):
        return tuple(default)
    rule = FileRule(what=GENERATION_FILE, limit=GENERATION_BYTES, error=ConfigError)
    found = parse_generation_config(rule.read(path), str(path)).eos
    return tuple(default) if found is None else found
