"""What families share: rotary frequencies, dense decoders, and what a new family touches."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

import sala_compile
from sala_compile.passes.support.quantization import Quantization, quantized_tensors
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir import frontends
from sala_compile.sala_ir.dialect import RopeTableOp, WeightOp, WeightRole
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from sala_compile.sala_ir.frontends.kit.dense import DenseConfig, DenseFrontend
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.rope_config import Rope
from sala_compile.sala_ir.frontends.kit.rotary import inverse_frequencies, rotary
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

FAMILIES = Path(frontends.__file__).parent
DENSE = ("llama", "qwen2", "qwen3")


LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.1 * index for index in range(8)],
    "long_factor": [1.0 + 2.0 * index for index in range(8)],
    "original_max_position_embeddings": 40,
}
"""A LongRoPE scaling of heads of 16."""


def small(family: str, **fields: Any) -> dict[str, Any]:
    """A config.json with nothing but what has no default; None leaves a field out."""
    config = {
        "model_type": family,
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def refused(raw: dict[str, Any]) -> ConfigError:
    """The error that a config gives."""
    with pytest.raises(ConfigError) as caught:
        frontend_for(raw).parse_config(raw, file="config.json")
    return caught.value


def test_linear_scaling_divides_every_frequency() -> None:
    found = rotary(Rope(rope_type="linear", factor=4.0), 1e4, 32)
    np.testing.assert_allclose(found.frequencies, 1e4 ** (-np.arange(16) / 16) / 4, rtol=1e-6)
    assert found.factor == 1.0


def test_llama3_keeps_short_wavelengths_and_divides_long_ones() -> None:
    """Against the formula wavelength by wavelength, in float64."""
    rope = Rope(
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )
    found = rotary(rope, 5e5, 128)
    kinds = Counter[str]()
    for index, frequency in enumerate(found.frequencies):
        plain = 5e5 ** (-index / 64)
        turns = 8192 * plain / (2 * math.pi)  # within the original length
        kinds["kept" if turns > 4 else "divided" if turns < 1 else "between"] += 1
        part = min(max((turns - 1) / (4 - 1), 0), 1)
        assert frequency == pytest.approx(plain * (part + (1 - part) / 8), rel=2e-6)
    assert min(kinds.values()) > 3
    assert found.factor == 1.0


@pytest.mark.parametrize("truncate", [True, False])
def test_yarn_interpolates_between_two_numbers_of_turns(truncate: bool) -> None:
    rope = Rope(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=4096, truncate=truncate
    )
    found = rotary(rope, 1e4, 64)
    places = [
        64 * math.log(4096 / (turns * 2 * math.pi)) / (2 * math.log(1e4)) for turns in (32.0, 1.0)
    ]
    low, high = (math.floor(places[0]), math.ceil(places[1])) if truncate else places
    divided = np.clip((np.arange(32) - low) / (high - low), 0, 1)
    plain = 1e4 ** (-np.arange(32) / 32)
    expected = plain / 4 * divided + plain * (1 - divided)
    np.testing.assert_allclose(found.frequencies, expected, rtol=2e-6)
    assert found.factor == pytest.approx(0.1 * math.log(4.0) + 1)


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        ({"attention_factor": 1.5}, 1.5),
        ({"mscale": 0.707}, 0.1 * math.log(40) + 1),
        (
            {"mscale": 1.0, "mscale_all_dim": 0.5},
            (0.1 * math.log(40) + 1) / (0.05 * math.log(40) + 1),
        ),
    ],
)
def test_factor_of_yarn(fields: dict[str, float], factor: float) -> None:
    rope = Rope(rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, **fields)
    assert rotary(rope, 1e4, 64).factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        ({"max_position_embeddings": 160}, math.sqrt(1 + math.log(4) / math.log(40))),
        ({"max_position_embeddings": 40}, 1.0),
        ({"factor": 2.0}, math.sqrt(1 + math.log(2) / math.log(40))),
        ({"attention_factor": 1.5, "max_position_embeddings": 160}, 1.5),
    ],
)
def test_long_rope_divides_by_factors_that_follow_the_call_length(
    fields: dict[str, Any], factor: float
) -> None:
    trained = fields.pop("max_position_embeddings", None)
    raw = small("llama", rope_scaling=LONG | fields, max_position_embeddings=trained)
    found = rotary(frontend_for(raw).parse_config(raw).rope, 1e4, 16)
    plain = 1e4 ** (-np.arange(8) / 8)
    expected = [plain / LONG["short_factor"], plain / LONG["long_factor"]]
    np.testing.assert_allclose(found.frequencies, np.ravel(expected), rtol=1e-6)
    assert found.starts == (0, 41)
    assert found.factor == pytest.approx(factor)


def test_long_rope_runs_on_the_frequencies_of_the_whole_call(tmp_path: Path) -> None:
    """Below and beyond the original length, read in chunks, decoded across it."""
    raw = small("qwen3", rope_scaling=LONG, max_position_embeddings=160)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", raw)
    compile_checkpoint(checkpoint, tmp_path / "model.sala")
    ids = np.random.default_rng(0).integers(0, 131, 90).tolist()
    with sala_compile.load(tmp_path / "model.sala", context=128) as model:
        names = [path.name for path in model.artifact.program.paths]
        assert len(names) == 2
        for length in (40, 41, 90):
            reference = reference_model(checkpoint)
            wanted = reference.prefill(ids[:length])
            found = model.logits(ids[:length], chunk=16)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
            with model.sequence() as sequence:
                sequence.append(ids[:length])
                for token in ids[:3]:
                    last = reference.decode(token)
                    np.testing.assert_allclose(sequence.append([token]), last, rtol=0, atol=1e-3)


def test_frequencies_without_scaling_are_those_of_theta() -> None:
    assert rotary(Rope(), 1e6, 24).frequencies == tuple(inverse_frequencies(1e6, 24).tolist())


@pytest.mark.parametrize("family", DENSE)
@pytest.mark.parametrize(
    "fields",
    [
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        {
            "rope_scaling": {"rope_type": "linear", "factor": 2.0},
            "rope_parameters": {"rope_type": "linear", "factor": 2.0},
        },
    ],
)
def test_places_of_a_scaling(family: str, fields: dict[str, Any]) -> None:
    raw = small(family, **fields)
    frontend = frontend_for(raw)
    module = frontend.build_module(frontend.parse_config(raw))
    (table,) = (op for op in module.walk() if isinstance(op, RopeTableOp))
    wanted = tuple((inverse_frequencies(1e4, 16) / np.float32(2)).tolist())
    assert table.parameters["frequencies"] == wanted


@pytest.mark.parametrize(
    ("fields", "where", "expected"),
    [
        (
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            "rope_scaling",
            "not supported",
        ),
        ({"rope_scaling": {"type": "longrope"}}, "rope_scaling.short_factor", "a value"),
        (
            {"rope_scaling": LONG | {"long_factor": [2.0] * 7}},
            "rope_scaling.long_factor",
            "one factor for each of the 8",
        ),
        ({"rope_scaling": LONG | {"short_factor": [0.0] * 8}}, "rope_scaling.short_factor[0]", "0"),
        (
            {"rope_scaling": LONG | {"original_max_position_embeddings": 1}},
            "rope_scaling.original_max_position_embeddings",
            "2 or more",
        ),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling.factor", "a value"),
        (
            {"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 2.0}},
            "rope_scaling",
            "not supported",
        ),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": "2"}},
            "rope_scaling.factor",
            "a number",
        ),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "colour": 3}},
            "rope_scaling.colour",
            "no such field",
        ),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "rope_scaling.low_freq_factor",
            "a value",
        ),
        (
            {
                "rope_scaling": {
                    **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0},
                    **{"high_freq_factor": 4.0, "original_max_position_embeddings": 64},
                }
            },
            "rope_scaling.high_freq_factor",
            "above low_freq_factor",
        ),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 8.0}},
            "rope_scaling.original_max_position_embeddings",
            "a value",
        ),
        (
            {
                "rope_scaling": {"rope_type": "linear", "factor": 2.0},
                "rope_parameters": {"rope_type": "linear", "factor": 4.0},
            },
            "rope_parameters",
            "the same as rope_scaling",
        ),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 1e38}, "rope_theta": 1e30},
            "rope_scaling",
            "frequencies that float32 holds",
        ),
        (
            {
                "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
                "rope_theta": 1.0,
                "max_position_embeddings": 64,
            },
            "rope_theta",
            "above 1",
        ),
        ({"rope_theta": 1.3e-38, "head_dim": 256}, "rope_theta", "frequencies that float32 holds"),
        ({"attention_bias": 1}, "attention_bias", None),
        ({"mlp_bias": True}, "mlp_bias", None),
        ({"use_sliding_window": True}, "use_sliding_window", None),
        ({"hidden_act": "gelu"}, "hidden_act", "silu"),
        ({"num_key_value_heads": 3}, "num_attention_heads", "multiple of the 3"),
        ({"head_dim": 15}, "head_dim", "even"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor", None),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps", "greater than 0"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("family", DENSE)
def test_refused_by_name(
    family: str, fields: dict[str, Any], where: str, expected: str | None
) -> None:
    error = refused(small(family, **fields))
    assert error.where == f"config.json: {where}"
    assert error.expected is not None
    assert expected is None or expected in error.expected
    assert error.fix


def test_sliding_windows_are_refused_by_name() -> None:
    assert refused(small("llama", sliding_window=4096)).where == "config.json: sliding_window"
    for family in ("qwen2", "qwen3"):
        raw = small(family, layer_types=["full_attention", "sliding_attention"])
        assert refused(raw).where == "config.json: layer_types"
        unused = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
        raw = small(family, **unused, layer_types=["full_attention"] * 2)
        frontend = frontend_for(raw)
        assert frontend.config_notes(raw, frontend.parse_config(raw), "config.json") == ()


@pytest.mark.parametrize("family", DENSE)
def test_sparse_attention_is_refused_and_dense_is_what_there_is(family: str) -> None:
    frontend = frontend_for(small(family))
    config = frontend.parse_config(small(family))
    with pytest.raises(ConfigError, match=f"{family} has no sparse attention"):
        frontend.build_module(config, AttentionMode.SPARSE)
    dense, usual = (
        str(frontend.build_module(config, mode))
        for mode in (AttentionMode.DENSE, AttentionMode.CONFIG)
    )
    assert dense == usual
    assert "compressed_keys<" not in dense


def test_defaults_are_those_of_transformers() -> None:
    raw = small("llama", num_key_value_heads=None, head_dim=None)
    config = frontend_for(raw).parse_config(raw)
    assert (config.num_key_value_heads, config.head_dim) == (4, 16)
    assert (config.rope_theta, config.rms_norm_eps) == (1e4, 1e-6)
    assert not config.tie_word_embeddings
    assert frontend_for(raw).parse_config(small("llama", head_dim=24)).head_dim == 24
    raw = small("qwen3", head_dim=None)
    assert frontend_for(raw).parse_config(raw).head_dim == 128


@pytest.mark.parametrize(
    ("family", "fields", "biased"),
    [
        ("llama", {}, ()),
        ("llama", {"attention_bias": True}, ("q_proj", "k_proj", "v_proj", "o_proj")),
        ("qwen2", {}, ("q_proj", "k_proj", "v_proj")),
        ("qwen3", {}, ()),
        ("qwen3", {"attention_bias": True}, ("q_proj", "k_proj", "v_proj", "o_proj")),
    ],
)
def test_tensors_of_a_layer(family: str, fields: dict[str, Any], biased: tuple[str, ...]) -> None:
    raw = small(family, **fields)
    frontend = frontend_for(raw)
    tensors = frontend.expected_tensors(frontend.parse_config(raw))
    prefix = "model.layers.1."
    names = {name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
    norms = {"self_attn.q_norm.weight", "self_attn.k_norm.weight"} if family == "qwen3" else set()
    assert names == norms | {
        *("input_layernorm.weight", "post_attention_layernorm.weight"),
        *(f"self_attn.{part}_proj.weight" for part in "qkvo"),
        *(f"self_attn.{name}.bias" for name in biased),
        *(f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
    }
    assert tensors[prefix + "self_attn.k_proj.weight"] == (32, 64)
    assert tensors["lm_head.weight"] == tensors["model.embed_tokens.weight"] == (131, 64)


def test_facts_are_what_the_config_says() -> None:
    raw = small("llama", eos_token_id=[2, 3], bos_token_id=1, max_position_embeddings=77)
    frontend = frontend_for(raw)
    facts = frontend.facts(frontend.parse_config(raw))
    assert (facts.family, facts.vocabulary, facts.layers) == ("llama", 131, 2)
    assert (facts.begin_token, facts.end_tokens, facts.trained_length) == (1, (2, 3), 77)
    assert facts.sizes["head_dim"] == 16


def test_queries_and_keys_of_plain_attention_are_not_sensitive() -> None:
    raw = small("llama")
    module = frontend_for(raw).build_module(frontend_for(raw).parse_config(raw))
    roles = Counter(op.role.data for op in module.walk() if isinstance(op, WeightOp))
    assert set(roles) == {WeightRole.PROJECTION, WeightRole.HEAD}
    encodings = quantized_tensors(module, Quantization.INT4_G32)
    assert Counter(encoding.label for encoding in encodings.values()) == {
        "int4-g32": 2 * 7,
        "int8-g128": 1,
    }


class _ToyConfig(DenseConfig):
    FAMILY: ClassVar[str] = "toy"
    FIELDS: ClassVar[Any] = COMMON

    @property
    def qk_norm(self) -> bool:
        return self.hidden_size == 64


@pytest.mark.parametrize("family", [*DENSE, "toy"])
def test_a_family_is_a_module_and_a_line(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family that nothing but `FRONTENDS` knows is compiled, run and checked like the others."""
    module = ModuleType("toy_family")
    module.FRONTEND = DenseFrontend(_ToyConfig)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "toy_family", module)
    monkeypatch.setattr(frontends, "FRONTENDS", dict(frontends.FRONTENDS) | {"toy": "toy_family"})
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small(family, attention_bias=True))
    compile_checkpoint(checkpoint, tmp_path / "model.sala")
    ids = np.random.default_rng(0).integers(0, 131, 90).tolist()
    with sala_compile.load(tmp_path / "model.sala", context=128) as model:
        found = model.logits(ids, chunk=37)
        assert json.loads(json.dumps(model.info()))["model"]["family"] == family
    wanted = reference_model(checkpoint).prefill(ids)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "family", sorted(path.parent.name for path in FAMILIES.glob("*/__init__.py"))
)
def test_a_family_is_small(family: str) -> None:
    """As CONTRIBUTING says: a dense family within 300 lines, one with mixers of its own in 400."""
    lines = sum(len(path.read_text().splitlines()) for path in (FAMILIES / family).glob("*.py"))
    limit = {"kit": 1400, "minicpm_sala": 400, "hypenet": 400}.get(family, 300)
    assert lines <= limit
