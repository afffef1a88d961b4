"""What generation_config.json of a checkpoint requests of an answer; the caller's options go first.

The rules are those of `generate` in Hugging Face's library: without `do_sample` the likeliest
token is taken, with it the temperature is 1 and `top_k` 50 where the file does not say. What is not
applied and would change the answer is reported in a note.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sala_compile.runtime.common.json_text import is_list, parse_object, quoted
from sala_compile.runtime.common.units import is_whole
from sala_compile.runtime.errors import ConfigError, RequestError, SalaError
from sala_compile.runtime.generation.sampling_options import SamplingOptions

GENERATION_FILE = "generation_config.json"
GENERATION_BYTES = 1 << 20
_SAMPLED = {"temperature": 1.0, "top_k": 50}
"""What Hugging Face's library takes with `do_sample` where the file does not say."""
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_FIX = "correct the field, or remove it"

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), (1,)),
    **dict.fromkeys(("guidance_scale", "typical_p"), (1,)),
    **dict.fromkeys(("min_length", "min_new_tokens", "no_repeat_ngram_size"), (0,)),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "penalty_alpha", "top_h"), (0,)),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens", "bad_words_ids"), ([],)),
    **dict.fromkeys(("force_words_ids", "constraints", "sequence_bias", "dola_layers"), ([], {})),
    **dict.fromkeys(("remove_invalid_values", "token_healing"), (False,)),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id", "max_time"), ()),
    **dict.fromkeys(("exponential_decay_length_penalty", "watermarking_config"), ()),
    "cache_implementation": ("dynamic", "static", "offloaded", "hybrid", "sliding_window"),
    "max_length": (20,),
}
"""Fields that are not applied, with the values (besides null) at which they change nothing."""

_HARMLESS = """
_from_model_config assistant_confidence_threshold assistant_early_exit assistant_ensemble_weight
assistant_lookbehind bos_token_id cache_config compile_config decoder_start_token_id
disable_compile diversity_penalty early_stopping encoder_no_repeat_ngram_size
encoder_repetition_penalty is_assistant length_penalty low_memory max_cache_len
max_matching_ngram_size num_assistant_tokens num_assistant_tokens_schedule output_attentions
output_hidden_states output_logits output_scores pad_token_id prefill_chunk_size
prompt_lookup_num_tokens renormalize_logits return_dict_in_generate return_legacy_cache
speculation_type target_lookbehind transformers_version use_cache use_mtp trust_remote_code
generation_kwargs
"""
"""Fields that change no token of a single answer of a decoder without beam search."""


class Defaults(StrEnum):
    """Where an answer's sampling comes from by default."""

    GENERATION_CONFIG = "generation-config"
    NONE = "none"


class EndTokens(StrEnum):
    """Which tokens end an answer.

    `generation-config` are those of generation_config.json, or else of config.json, or else the
    tokenizer's; `tokenizer` its `eos_token` alone; `both` all of them.
    """

    GENERATION_CONFIG = "generation-config"
    TOKENIZER = "tokenizer"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """What generation_config.json requests; `sampling` by the names of SamplingOptions.

    `samples` is what it says of sampling, None if it does not; `notes` say what of it is not
    applied.
    """

    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    eos: tuple[int, ...] | None = None
    samples: bool | None = None
    notes: tuple[str, ...] = ()


def parse_generation_config(
    data: bytes, where: str, error: type[SalaError] = ConfigError
) -> GenerationDefaults:
    """What the file with the bytes `data` requests; `error` names a field that has no meaning."""
    fields = parse_object(data, where, error, fix=_FIX)
    fields = {name: value for name, value in fields.items() if value is not None}
    check = _Checks(fields, where, error)
    return GenerationDefaults(
        sampling=check.sampling(),
        max_new_tokens=check.max_new_tokens(),
        stop=check.stop_strings(),
        eos=check.end_tokens(),
        samples=fields.get("do_sample"),
        notes=tuple(_notes(fields)),
    )


@dataclass(frozen=True, slots=True)
class _Checks:
    """The fields of a file, each refused by name if it has no meaning."""

    fields: Mapping[str, Any]
    where: str
    error: type[SalaError]

    def sampling(self) -> dict[str, Any]:
        """The options, the temperature 0 if the likeliest token is requested."""
        samples = self.fields.get("do_sample", False)
        if not isinstance(samples, bool):
            raise self._refused("do_sample", "true or false")
        found = {name: self.fields[name] for name in _SAMPLING if name in self.fields}
        for name, value in found.items():
            try:
                SamplingOptions(**{name: value})
            except RequestError as error:
                raise self._refused(name, error.expected or "a number") from None
        if samples:
            return _SAMPLED | found
        return found | {"temperature": 0.0}

    def max_new_tokens(self) -> int | None:
        """The longest answer, if the file says it."""
        count = self.fields.get("max_new_tokens")
        if count is not None and not (is_whole(count) and count >= 1):
            raise self._refused("max_new_tokens", "a whole number from 1")
        return count

    def stop_strings(self) -> tuple[str, ...]:
        """Texts that end an answer."""
        stop = self.fields.get("stop_strings", [])
        texts = [stop] if isinstance(stop, str) else stop
        if not is_list(texts) or not all(isinstance(t, str) and t for t in texts):
            raise self._refused("stop_strings", "a text or a list of texts")
        return tuple(texts)

    def end_tokens(self) -> tuple[int, ...] | None:
        """The ids that end an answer; None if the file does not say."""
        found = self.fields.get("eos_token_id")
        if found is None:
            return None
        ids = found if is_list(found) else [found]
        if not all(is_whole(token) and token >= 0 for token in ids):
            expected = "a token id, or a list of token ids"
            raise self._refused("eos_token_id", expected, f"{_FIX}: then that of config.json holds")
        return tuple(ids)

    def _refused(self, name: str, expected: str, fix: str = _FIX) -> SalaError:
        found = f"{name} is {quoted(self.fields[name])}"
        return self.error(found, where=f"{self.where}: {name}", expected=expected, fix=fix)


def _notes(fields: Mapping[str, Any]) -> list[str]:
    """A note for each field that is not applied and might change the answer."""
    applied = {*_SAMPLING, "do_sample", "max_new_tokens", "stop_strings", "eos_token_id"}
    notes: list[str] = []
    for name, value in fields.items():
        if name in applied or name in _HARMLESS.split():
            continue
        if name not in _NEUTRAL:
            notes.append(f"{GENERATION_FILE}: the field {quoted(name)} is not known, and ignored")
        elif value not in _NEUTRAL[name]:
            notes.append(f"{GENERATION_FILE}: {name} {quoted(value)} is not applied")
    return notes
