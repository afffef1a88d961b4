"""What families share: dense decoders, and what a new family touches."""

from __future__ import annotations

import json
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
from sala_compile.sala_ir.dialect import WeightOp, WeightRole
from sala_compile.sala_ir.frontends import FRONTENDS, AttentionMode, frontend_for
from sala_compile.sala_ir.frontends.kit.dense import DenseConfig, DenseFrontend
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint
from tests.support.dense_configs import DENSE, LONG, refused, small

ROUTED = ("kv_lora_rank", "num_experts", "num_local_experts", "n_routed_experts")
READ = {
    "minicpm3": ("kv_lora_rank",),
    "qwen3_next": ("num_experts",),
    "kimi_linear": ROUTED,
    "bailing_hybrid": ROUTED,
    "minimax": ("num_local_experts",),
    "nemotron_h": ("n_routed_experts",),
    "glm5_next": ROUTED,
    "deepseek_v32": ROUTED,
    "glm_moe_dsa": ROUTED,
    "qwen4_exp": ("num_experts",),
    "qwen4_exp_text": ("num_experts",),
}
"""Fields of latent attention and of experts that families have."""
FAMILIES = Path(frontends.__file__).parent


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
                "rope_scaling": {
                    **{"rope_type": "yarn", "factor": 8.0},
                    **{"original_max_position_embeddings": 64},
                },
                "original_max_position_embeddings": 32,
            },
            "rope_scaling.original_max_position_embeddings",
            "the same as original_max_position_embeddings outside of it, 32",
        ),
        (
            {"rope_scaling": LONG | {"original_max_position_embeddings": None}},
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
        ({"mlp_bias": 1}, "mlp_bias", None),
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, 8) for name in ("num_experts", "num_local_experts", "n_routed_experts")),
        *(("moe_num_experts", 4), ("kv_lora_rank", 512), ("no_rope_layers", [1, 0])),
        *(("layer_types", ["sliding_attention", "full_attention"]), ("use_sliding_window", True)),
        *(("sliding_window_size", 512), ("sliding_window_pattern", 2)),
        *(("attention_window_size", 512), ("attention_chunk_size", 8192)),
        *(("attention_sinks", True), ("use_attention_sinks", True), ("num_attention_sinks", 4)),
        *(("attention_sink_size", 4), ("num_sink_tokens", 4)),
    ],
)
@pytest.mark.parametrize("family", FRONTENDS)
def test_experts_windows_and_sinks_are_refused_by_name(
    family: str, field: str, value: object
) -> None:
    if field in READ.get(family, ()):
        return
    error = refused({"model_type": family, field: value})
    assert error.where == f"config.json: {field}"
    assert error.fix


def test_biases_of_the_mlp_are_those_of_llama_alone() -> None:
    for family in ("qwen2", "qwen3", "hypenet", "minicpm"):
        assert refused(small(family, mlp_bias=True)).where == "config.json: mlp_bias"


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
        (
            "llama",
            {"attention_bias": True, "mlp_bias": True},
            tuple(f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")),
        ),
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
        *(f"{'self_attn' if name[0] in 'qkvo' else 'mlp'}.{name}.bias" for name in biased),
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
    limit = {"kit": 3550, "minicpm_sala": 400, "hypenet": 400}.get(family, 300)
    assert lines <= limit
