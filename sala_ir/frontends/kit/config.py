"""The fields that the configs of decoders share, and how a config is read and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.field_rules import FieldRules, check_fields, unknown_fields, unknown_note
from sala_compile.sala_ir.frontends.kit.facts import ModelFacts
from sala_compile.sala_ir.frontends.kit.fields import (
    Cardinal,
    Count,
    HeadDim,
    Heads,
    Layers,
    Positive,
    Refuse,
    config_error,
    from_validation,
)
from sala_compile.sala_ir.frontends.kit.rope_config import Rope, read_rope
from sala_compile.sala_ir.frontends.kit.rotary import check_rope


class DecoderConfig(BaseModel):
    """Everything that inference reads of a config, by the names that config.json has.

    A family adds its fields, its rules in `FIELDS` and what its fields satisfy together in `check`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    FAMILY: ClassVar[str]
    """The model_type."""
    FIELDS: ClassVar[FieldRules]
    """What every known field may hold."""
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ()
    """Scalings of the rotary frequencies that change them and are supported."""

    PARTIAL_ROTARY: ClassVar[bool] = False
    """Whether a part of each head may be rotated: then `partial_rotary_factor` says which."""

    vocab_size: Count
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Layers
    num_attention_heads: Heads
    num_key_value_heads: Heads
    head_dim: HeadDim
    hidden_act: Literal["silu"] = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False
    rms_norm_eps: Positive
    rope_theta: Positive
    rope: Rope = Rope()
    tie_word_embeddings: bool
    max_position_embeddings: Count | None = None
    bos_token_id: Cardinal | None = None
    eos_token_id: tuple[Cardinal, ...] = ()
    pad_token_id: int | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    @classmethod
    def read(cls, raw: Mapping[str, Any], file: str) -> Self:
        """Check a config and fill in what may be missing.

        Raises `ConfigError` that names the field, what was found, what is expected and what to do.
        """
        if raw.get("model_type") != cls.FAMILY:
            found = raw.get("model_type")
            raise config_error(file, "model_type", found, f'"{cls.FAMILY}"', "use another frontend")
        for field in ("quantization_config", "compression_config"):
            if raw.get(field) is not None:
                raise ConfigError(
                    "the checkpoint is quantised",
                    where=f"{file}: {field}",
                    expected="plain weights (float32, bfloat16 or float16)",
                    fix="use the unquantised checkpoint",
                )
        check_fields(raw, cls.FIELDS, file, ConfigError)
        fields = {name: value for name, value in raw.items() if value is not None}
        end: Any = fields.get("eos_token_id", [])
        fields["eos_token_id"] = tuple(cast(list[Any], end)) if isinstance(end, list) else (end,)
        fields |= _dtype(fields, file) | read_rope(
            fields, cls.ROPE_KINDS, file, partial=cls.PARTIAL_ROTARY
        )
        cls.fill(fields, file)
        try:
            config = cls.model_validate(fields)
        except ValidationError as error:
            raise from_validation(error, file) from error
        config.check(partial(config_error, file))
        return config

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Replace other spellings, and add what follows from other fields; `fields` has no null.

        Values of foreign types are left to the validation.
        """
        fill_head_dim(fields)
        fill_from(fields, num_key_value_heads="num_attention_heads")

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        check_heads(self, refuse, ("num_attention_heads", "num_key_value_heads", "head_dim"))
        check_rope(self.rope, self.rope_theta, self.rotated, refuse)

    @property
    def rotated(self) -> int:
        """Dimensions of a head that are rotated."""
        return self.head_dim

    def notes(self, raw: Mapping[str, Any], file: str) -> tuple[str, ...]:
        """Sentences on the config that its user should read, one for all unknown fields."""
        unknown = unknown_fields(raw, self.FIELDS)
        return (unknown_note(unknown, file),) if unknown else ()

    @property
    def facts(self) -> ModelFacts:
        """What the rest of the compiler reads."""
        fields = self.model_dump(mode="json", exclude={"rope"})
        return ModelFacts(
            family=self.FAMILY,
            vocabulary=self.vocab_size,
            layers=self.num_hidden_layers,
            trained_length=self.max_position_embeddings,
            begin_token=self.bos_token_id,
            end_tokens=self.eos_token_id,
            sizes={name: value for name, value in _flat(fields) if type(value) is int},
        )


def fill_head_dim(fields: dict[str, Any]) -> None:
    """Without a head_dim, heads share the hidden size."""
    hidden, heads = fields.get("hidden_size"), fields.get("num_attention_heads")
    if type(hidden) is int and type(heads) is int and heads > 0 and hidden % heads == 0:
        fields.setdefault("head_dim", hidden // heads)


def fill_from(fields: dict[str, Any], **sources: str) -> None:
    """Fields that are absent have the values of others."""
    for name, source in sources.items():
        if name not in fields and source in fields:
            fields[name] = fields[source]


def check_heads(config: BaseModel, refuse: Refuse, names: tuple[str, str, str]) -> None:
    """Heads are a multiple of the key-value heads, and their size is even; fields by name."""
    heads, kv_heads, size = (getattr(config, name) for name in names)
    if heads % kv_heads:
        expected = f"a multiple of the {kv_heads} key-value heads"
        raise refuse(names[0], heads, expected, "correct the head counts")
    if size % 2:
        raise refuse(names[2], size, "an even number", "odd head sizes are not supported")


def _dtype(fields: Mapping[str, Any], file: str) -> dict[str, Any]:
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
    return {"dtype": next(iter(found.values()))} if found else {}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(cast(Mapping[str, Any], value), f"{prefix}{name}.")
        else:
            yield prefix + name, value
