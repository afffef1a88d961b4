"""From the JSON of a config to the checked `MiniCPMSalaConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.field_rules import check_fields, unknown_fields, unknown_note
from sala_compile.sala_ir.frontends.minicpm_sala.checks import check_config
from sala_compile.sala_ir.frontends.minicpm_sala.config import (
    LightningScale,
    MiniCPMSalaConfig,
    MixerType,
)
from sala_compile.sala_ir.frontends.minicpm_sala.fields import config_error, from_validation
from sala_compile.sala_ir.frontends.minicpm_sala.known_fields import FIELDS
from sala_compile.sala_ir.frontends.minicpm_sala.rotary import read_theta

_MIXERS: Mapping[str, MixerType] = {
    "minicpm4": MixerType.SPARSE,
    "minicpm": MixerType.SPARSE,  # this and the next three are SGLang's
    "standard": MixerType.SPARSE,
    "attention": MixerType.SPARSE,
    "attn": MixerType.SPARSE,
    "lightning": MixerType.LIGHTNING,
    "lightning_attn": MixerType.LIGHTNING,
    "lightning-attn": MixerType.LIGHTNING,
}

_SCALES: Mapping[str, LightningScale] = {
    "1/sqrt(d)": LightningScale.INVERSE_ROOT,
    "1/d": LightningScale.INVERSE,
    "1": LightningScale.ONE,
    "1.0": LightningScale.ONE,
}


def parse_config(raw: Mapping[str, Any], *, file: str = "config.json") -> MiniCPMSalaConfig:
    """Check a config and fill in what may be missing.

    Raises `ConfigError` that names the field, what was found, what is expected and what to do.
    `known_fields.FIELDS` lists what has no effect; `config_notes` tells the unknown.
    """
    if raw.get("model_type") != "minicpm_sala":
        raise config_error(
            file, "model_type", raw.get("model_type"), '"minicpm_sala"', "use another frontend"
        )
    for field in ("quantization_config", "compression_config"):
        if raw.get(field) is not None:
            raise ConfigError(
                "the checkpoint is quantised",
                where=f"{file}: {field}",
                expected="plain weights (float32, bfloat16 or float16)",
                fix="use the unquantised checkpoint",
            )
    check_fields(raw, FIELDS, file, ConfigError)
    fields = {name: value for name, value in raw.items() if value is not None}
    _spell_out(fields, file)
    _fill_sizes(fields)
    try:
        config = MiniCPMSalaConfig.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error, file) from error
    check_config(config, file)
    return config


def config_notes(raw: Mapping[str, Any], config: MiniCPMSalaConfig, file: str) -> tuple[str, ...]:
    """What to tell of a config: fields that are not known, attention that is dense."""
    unknown = unknown_fields(raw, FIELDS)
    notes = (unknown_note(unknown, file),) if unknown else ()
    if config.sparse_config is None and config.layers_of(MixerType.SPARSE):
        notes += (f"{file} has no sparse_config: its layers of attention read all of the past",)
    return notes


def _spell_out(fields: dict[str, Any], file: str) -> None:
    """Replace accepted spellings by enums and tuples; leave foreign types to the model's check."""
    mixers = fields.get("mixer_types")
    if isinstance(mixers, list):
        fields["mixer_types"] = tuple(
            _mixer(mixer, index, file) for index, mixer in enumerate(mixers)
        )
    if "lightning_scale" in fields:
        fields["lightning_scale"] = _lightning_scale(fields["lightning_scale"], file)
    end = fields.get("eos_token_id", [])
    fields["eos_token_id"] = tuple(end) if isinstance(end, list) else (end,)
    dtype = _dtype(fields, file)
    if dtype is not None:
        fields["dtype"] = dtype
    theta = read_theta(fields, file)
    if theta is not None:
        fields["rope_theta"] = theta


def _mixer(spelling: Any, layer: int, file: str) -> MixerType:
    found = _MIXERS.get(spelling) if isinstance(spelling, str) else None
    if found is None:
        known = ", ".join(f'"{name}"' for name in _MIXERS)
        raise config_error(
            file,
            f"mixer_types[{layer}]",
            spelling,
            f"one of {known}",
            f"layer {layer} is of a kind that this compiler does not know",
        )
    return found


def _lightning_scale(spelling: Any, file: str) -> LightningScale:
    found = _SCALES.get(spelling) if isinstance(spelling, str) else None
    if type(spelling) in (int, float) and spelling == 1:
        return LightningScale.ONE  # a number is SGLang's spelling; to others any text is 1
    if found is None:
        raise config_error(
            file,
            "lightning_scale",
            spelling,
            '"1/sqrt(d)", "1/d" or "1"',
            'the model\'s own code takes any other string for 1: write "1" if that is meant',
        )
    return found


def _dtype(fields: Mapping[str, Any], file: str) -> Any:
    """The dtype field in either spelling, without the prefix `torch.`."""
    found = {
        name: value.removeprefix("torch.") if isinstance(value, str) else value
        for name in ("dtype", "torch_dtype")
        if (value := fields.get(name)) is not None
    }
    if len(found) == 2 and found["dtype"] != found["torch_dtype"]:
        raise config_error(
            file,
            "torch_dtype",
            found["torch_dtype"],
            f"the same as dtype, {quoted(found['dtype'])}",
            "keep one of the two fields",
        )
    return next(iter(found.values()), None)


def _fill_sizes(fields: dict[str, Any]) -> None:
    """Sizes that may be missing follow from others; foreign types are reported by the model."""

    def count(name: str) -> int | None:
        value = fields.get(name)
        return value if type(value) is int and value > 0 else None

    hidden, heads = count("hidden_size"), count("num_attention_heads")
    if hidden is not None and heads is not None and hidden % heads == 0:
        fields.setdefault("head_dim", hidden // heads)
    for name, source in (
        ("num_key_value_heads", "num_attention_heads"),
        ("lightning_nh", "num_attention_heads"),
        ("lightning_nkv", "num_key_value_heads"),
        ("lightning_head_dim", "head_dim"),
    ):
        if name not in fields and source in fields:
            fields[name] = fields[source]
