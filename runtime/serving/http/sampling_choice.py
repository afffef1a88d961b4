"""How the tokens of a request's choices are chosen, and what ends them."""

import secrets
from typing import Any

import numpy as np

from sala_compile.runtime.generation.generation import stop_strings
from sala_compile.runtime.generation.generation_config import GenerationDefaults
from sala_compile.runtime.generation.sampling_options import SamplingOptions
from sala_compile.runtime.serving.http.api_error import refused
from sala_compile.runtime.serving.http.request_fields import AnswerFields
from sala_compile.runtime.serving.http.request_limits import LIMITS

_SHARED = (
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
    *("presence_penalty", "frequency_penalty"),
)


def sampling_of(
    fields: AnswerFields, defaults: GenerationDefaults, vocabulary: int, choices: int
) -> list[SamplingOptions]:
    """The options of each of a prompt's choices.

    What a request leaves out is what generation_config.json requests; where that does not say
    whether to sample, the temperature is 1, as in OpenAI's documentation. Without a seed every
    choice has a random one; with one, the choice `i` has `seed + i`.
    """
    values: dict[str, Any] = {"temperature": 1.0} | default_sampling(defaults)
    given = {name: getattr(fields, name) for name in _SHARED}
    values |= {name: value for name, value in given.items() if value is not None}
    if values.get("top_k", 0) == -1:
        values["top_k"] = 0
    if values.get("top_p") == 0:  # the likeliest token alone, as elsewhere
        values["top_p"], values["top_k"] = 1.0, 1
    values["logit_bias"] = _biases(fields.logit_bias, vocabulary)
    seeds = (_seed(fields.seed, number) for number in range(choices))
    return [SamplingOptions(seed=seed, **values) for seed in seeds]


def default_sampling(defaults: GenerationDefaults) -> dict[str, Any]:
    """What generation_config.json requests of sampling, by the names of a request's fields.

    The temperature is left out where the file does not say whether to sample.
    """
    unsaid = () if defaults.samples is not None else ("temperature",)
    return {name: value for name, value in defaults.sampling.items() if name not in unsaid}


def stops_of(fields: AnswerFields, defaults: GenerationDefaults) -> tuple[str, ...]:
    """The texts that end an answer: the request's, or else the checkpoint's."""
    stops = defaults.stop if fields.stop is None else stop_strings(fields.stop)
    if len(stops) > LIMITS.stops:
        raise refused("stop", f"there are {len(stops)} stop strings, at most {LIMITS.stops} may be")
    if any(len(stop) > LIMITS.stop_characters for stop in stops):
        raise refused("stop", f"a stop string has more than {LIMITS.stop_characters} characters")
    return stops


def ends_of(fields: AnswerFields, ends: frozenset[int], vocabulary: int) -> frozenset[int]:
    """The ids that end an answer."""
    given = fields.stop_token_ids or ()
    for token in given:
        if token >= vocabulary:
            raise refused("stop_token_ids", f"{token} is no token, ids are below {vocabulary}")
    return frozenset(given) if fields.ignore_eos else ends | frozenset(given)


def allowed_of(fields: AnswerFields, vocabulary: int) -> np.ndarray | None:
    """The ids that may be chosen, int64 [tokens]; None for all."""
    if fields.allowed_token_ids is None:
        return None
    allowed = np.array(fields.allowed_token_ids, np.int64)
    if allowed.max() >= vocabulary:
        message = f"{allowed.max()} is no token, ids are below {vocabulary}"
        raise refused("allowed_token_ids", message)
    return allowed


def _biases(given: dict[str, float] | None, vocabulary: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for name, value in (given or {}).items():
        if not (name.isascii() and name.isdecimal() and len(name) < 11 and int(name) < vocabulary):
            message = f"{name[:40]!r} is no token id below {vocabulary}"
            raise refused("logit_bias", message)
        if abs(value) > 100:
            raise refused("logit_bias", f"the bias {value:g} is not from -100 to 100")
        found[int(name)] = value
    return found


def _seed(seed: int | None, number: int) -> int:
    return secrets.randbits(63) if seed is None else (seed + number) % 2**64
