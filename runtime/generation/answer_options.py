"""The options of an answer: the caller's, and for the rest what the checkpoint requests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.common.checks import refusal
from sala_compile.runtime.errors import ArtifactError, RequestError
from sala_compile.runtime.generation.generation import GenerationOptions, stop_strings
from sala_compile.runtime.generation.generation_config import (
    GENERATION_FILE,
    Defaults,
    EndTokens,
    GenerationDefaults,
    parse_generation_config,
)
from sala_compile.runtime.generation.sampling_options import SamplingOptions
from sala_compile.runtime.text.tokenizer import Tokenizer

Choice = TypeVar("Choice", bound=StrEnum)


class AnswerOptions:
    """Completes the options that callers leave out, for the answers of one artifact."""

    def __init__(self, artifact: Artifact, tokenizer: Callable[[], Tokenizer | None]) -> None:
        """Read generation_config.json; ArtifactError if it is damaged."""
        self._artifact = artifact
        self._tokenizer = tokenizer
        self.defaults = _read(artifact)
        """What generation_config.json requests, and what of it is not applied."""

    def complete(
        self,
        max_new_tokens: int | None,
        stop: object,
        ignore_eos: bool,
        defaults: str,
        end_tokens: str,
        sampling: dict[str, Any],
    ) -> GenerationOptions:
        """All options; `sampling` are those of SamplingOptions that the caller gives."""
        file = self.defaults
        if _chosen("defaults", Defaults, defaults) is Defaults.NONE:
            file = GenerationDefaults()
        chosen = GenerationOptions(
            sampling=SamplingOptions(**(dict(file.sampling) | sampling)),
            stop=file.stop if stop is None else stop_strings(stop),
            eos=self._ends(_chosen("end_tokens", EndTokens, end_tokens)),
            ignore_eos=ignore_eos,
        )
        longest = file.max_new_tokens if max_new_tokens is None else max_new_tokens
        return chosen if longest is None else replace(chosen, max_new_tokens=longest)

    def _ends(self, which: EndTokens) -> tuple[int, ...]:
        """The ids that end an answer, from the file that the caller chose."""
        given = self._artifact.manifest.model.eos_token_ids
        if which is EndTokens.GENERATION_CONFIG and given:
            return given
        tokenizer = self._tokenizer()
        own = () if tokenizer is None else tokenizer.end_ids
        return own if which is EndTokens.TOKENIZER else tuple(dict.fromkeys((*given, *own)))


def generation_options(
    max_new_tokens: int = 256,
    *,
    stop: Sequence[str] | str | None = (),
    ignore_eos: bool = False,
    **sampling: Any,
) -> GenerationOptions:
    """Options without a checkpoint's defaults as one record; RequestError for unknown ones."""
    chosen = SamplingOptions(**known_sampling(sampling))
    return GenerationOptions(max_new_tokens, chosen, stop_strings(stop), (), ignore_eos)


def known_sampling(sampling: dict[str, Any]) -> dict[str, Any]:
    """The options of SamplingOptions; RequestError for any other."""
    names = SamplingOptions.names()
    unknown = [name for name in sampling if name not in names]
    if unknown:
        raise RequestError(
            f"unknown options among {', '.join(sampling)}: {', '.join(unknown)}",
            expected=f"max_new_tokens, stop, ignore_eos, {', '.join(names)}",
        )
    return sampling


def _chosen(name: str, kind: type[Choice], value: object) -> Choice:
    try:
        return kind(value)
    except ValueError:
        raise refusal(name, value, f"one of {', '.join(map(repr, map(str, kind)))}") from None


def _read(artifact: Artifact) -> GenerationDefaults:
    if not artifact.has(GENERATION_FILE):
        return GenerationDefaults()
    where = str(artifact.directory / GENERATION_FILE)
    return parse_generation_config(artifact.read_bytes(GENERATION_FILE), where, ArtifactError)
