"""Configs of every family, drawn from all that it supports, for shapes that nobody thought of.

    python -m tests.support.random_configs --count 60 --first 100

compiles that many more of each family than the tests do, and prints the configs that fail. With
transformers installed, its logits are compared too where it has the family.
"""

import argparse
import json
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import sala_compile
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

LENGTH = 150
LIMIT = 1e-3
Draw = np.random.Generator
Config = dict[str, Any]


def random_config(family: str, seed: int) -> Config:
    """A config.json of `family`, always the same for a seed."""
    draw = np.random.default_rng([seed, FAMILIES.index(family)])
    heads = _heads(draw, divides=family == "minicpm")
    config = {
        "model_type": family,
        "vocab_size": int(draw.integers(5, 300)),
        "intermediate_size": int(draw.integers(1, 130)),
        "num_hidden_layers": int(draw.integers(1, 4)),
        "max_position_embeddings": int(draw.integers(100, 5000)),
        "rms_norm_eps": float(draw.choice([1e-6, 1e-5, 1e-3])),
        "rope_theta": float(draw.choice([100.0, 1e4, 1e6])),
        "tie_word_embeddings": _is(draw),
        **heads,
    }
    _FIELDS[family](draw, config)
    return config


def _is(draw: Draw, chance: float = 0.5) -> bool:
    return bool(draw.random() < chance)


def _up_to(draw: Draw, most: int) -> int:
    return int(draw.integers(1, most + 1))


def _heads(draw: Draw, *, divides: bool) -> Config:
    """Head counts, an even size of heads, and a hidden size, equal to their product or not."""
    kv_heads = int(draw.choice([1, 1, 2, 3, 4]))
    heads = kv_heads * int(draw.choice([1, 2, 3, 5, 7]))
    size = 2 * int(draw.integers(1, 36)) if _is(draw, 0.8) else int(draw.choice([64, 80, 96, 128]))
    fields = {"num_attention_heads": heads, "num_key_value_heads": kv_heads}
    if divides or _is(draw, 0.3):
        return fields | {"hidden_size": heads * size} | ({} if divides else {"head_dim": size})
    hidden = heads * int(draw.integers(1, 20))  # transformers wants a multiple
    return fields | {"hidden_size": hidden, "head_dim": size}


def _rope(draw: Draw, config: Config, kinds: tuple[str, ...]) -> None:
    """A scaling of the rotary frequencies, in the old spelling or in the new one."""
    kind = ("default", *kinds)[int(draw.integers(len(kinds) + 1))]
    original, half = int(draw.integers(40, 99)), _size(config) // 2
    table: Config = {"rope_type": kind}
    if kind in ("linear", "yarn", "llama3"):
        table["factor"] = float(draw.choice([1.5, 4.0, 8.0]))
    if kind in ("yarn", "llama3", "longrope"):
        table["original_max_position_embeddings"] = original
    if kind == "yarn" and _is(draw):
        table |= {"beta_fast": 16.0, "beta_slow": 2.0}
    if kind == "llama3":
        table |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if kind == "longrope":
        table["short_factor"] = (1 + draw.random(half)).round(3).tolist()
        table["long_factor"] = (1 + 9 * draw.random(half)).round(3).tolist()
    if _is(draw):
        config["rope_scaling"] = table if kind != "default" else None
    else:
        config["rope_parameters"] = table | {"rope_theta": config.pop("rope_theta")}


def _size(config: Config) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _llama(draw: Draw, config: Config) -> None:
    config |= {"attention_bias": _is(draw), "mlp_bias": _is(draw)}
    _rope(draw, config, ("linear", "llama3", "yarn", "longrope"))


def _qwen2(draw: Draw, config: Config) -> None:
    config |= {"use_sliding_window": False, "sliding_window": int(draw.integers(1, 99))}
    _rope(draw, config, ("linear", "yarn"))


def _qwen3(draw: Draw, config: Config) -> None:
    config["attention_bias"] = _is(draw)
    _rope(draw, config, ("linear", "yarn", "llama3"))


def _sparse(draw: Draw) -> Config:
    stride, init = int(draw.choice([4, 8])), int(draw.integers(0, 3))
    block = stride * int(draw.choice([2, 4]))
    return {
        "kernel_size": 2 * stride,
        "kernel_stride": stride,
        "block_size": block,
        "init_blocks": init,
        "window_size": block * int(draw.integers(1, 4)),
        "topk": init + int(draw.integers(1, 4)),
        "dense_len": int(draw.choice([0, 64, 100, 4000])),
    }


def _minicpm(draw: Draw, config: Config) -> None:
    config |= {"scale_emb": float(draw.integers(1, 13)), "scale_depth": 1.4}
    config["dim_model_base"] = _up_to(draw, config["hidden_size"])
    if _is(draw, 0.7):
        config["sparse_config"] = _sparse(draw) | {"use_nope": _is(draw)}
    _rope(draw, config, ("linear", "longrope"))
    if _is(draw):
        config["tie_word_embeddings"] = True


def _lightning_heads(draw: Draw, config: Config) -> Config:
    kv_heads = int(draw.choice([1, 2, 3]))
    return {"lightning_nh": kv_heads * int(draw.choice([1, 2, 3])), "lightning_nkv": kv_heads}


def _mixers(draw: Draw, config: Config, kinds: tuple[str, str]) -> list[str]:
    return [kinds[int(_is(draw))] for _ in range(config["num_hidden_layers"])]


def _hypenet(draw: Draw, config: Config) -> None:
    config |= _lightning_heads(draw, config)
    config |= {
        "mixer_types": _mixers(draw, config, ("attn", "lightning-attn")),
        "head_dim": _size(config),
        "lightning_head_dim": _size(config),
        "attn_use_rope": _is(draw, 0.3),
        "attn_use_output_gate": _is(draw),
        "attn_logits_scaling": draw.choice(["hype50", ""]) or None,
        "lightning_use_rope": _is(draw),
        "lightning_use_qk_norm": _is(draw),
        "lightning_use_output_norm": _is(draw),
        "lightning_use_output_gate": _is(draw),
        "attention_bias": _is(draw, 0.3),
    }
    _rope(draw, config, ("linear", "llama3", "yarn"))


def _minicpm_sala(draw: Draw, config: Config) -> None:
    config |= _lightning_heads(draw, config)
    config |= {
        "head_dim": _size(config),
        "lightning_head_dim": 2 * int(draw.integers(1, 36)),
        "mixer_types": _mixers(draw, config, ("minicpm4", "lightning-attn")),
        "scale_emb": 2.0,
        "scale_depth": 1.4,
        "dim_model_base": _up_to(draw, config["hidden_size"]),
        "mup_denominator": 32,
        "attn_use_rope": _is(draw, 0.3),
        "attn_use_output_gate": _is(draw),
        "lightning_scale": str(draw.choice(["1/sqrt(d)", "1/d", "1"])),
        "lightning_use_rope": _is(draw),
        "qk_norm": _is(draw),
        "use_output_norm": _is(draw),
        "use_output_gate": _is(draw),
        "attention_bias": _is(draw, 0.3),
        "sparse_config": _sparse(draw),
    }


def _state_heads(draw: Draw) -> tuple[int, int]:
    """Heads of a recurrence, and those of its keys."""
    key_heads = int(draw.choice([1, 2, 3]))
    return key_heads * int(draw.choice([1, 2, 3])), key_heads


def _olmo_hybrid(draw: Draw, config: Config) -> None:
    heads, key_heads = _state_heads(draw)
    config |= {
        "layer_types": _mixers(draw, config, ("linear_attention", "full_attention")),
        "linear_num_value_heads": heads,
        "linear_num_key_heads": key_heads,
        "linear_key_head_dim": _up_to(draw, 70),
        "linear_value_head_dim": _up_to(draw, 70),
        "linear_conv_kernel_dim": int(draw.integers(2, 6)),
        "linear_allow_neg_eigval": _is(draw),
        "attention_bias": _is(draw, 0.3),
    }
    if _is(draw, 0.3):
        del config["rope_theta"]
    else:
        _rope(draw, config, ("linear", "llama3", "yarn"))


def _falcon_h1(draw: Draw, config: Config) -> None:
    heads, groups = _state_heads(draw)
    size = _up_to(draw, 40)
    config |= {
        "mamba_n_heads": heads,
        "mamba_n_groups": groups,
        "mamba_d_head": size,
        "mamba_d_ssm": heads * size,
        "mamba_d_state": _up_to(draw, 70),
        "mamba_d_conv": int(draw.integers(2, 6)),
        "mamba_conv_bias": _is(draw),
        "mamba_rms_norm": _is(draw),
        "mamba_norm_before_gate": _is(draw),
        "embedding_multiplier": 1.75,
        "lm_head_multiplier": 0.4,
        "key_multiplier": 0.6,
        "mlp_multipliers": [0.7, 1.3],
        "ssm_multipliers": draw.uniform(0.5, 1.5, 5).round(2).tolist(),
        "time_step_limit": [0.1, 0.8] if _is(draw, 0.3) else [0.0, "Infinity"],
        **{
            f"{part}_{side}_multiplier": float(draw.uniform(0.5, 1.5))
            for part in ("attention", "ssm")
            for side in ("in", "out")
        },
    }
    _rope(draw, config, ("linear", "llama3", "yarn"))


def _latent(draw: Draw, config: Config, kinds: tuple[str, ...]) -> None:
    """Sizes of latent attention, and a scaling of the frequencies of what is rotated."""
    rotary = 2 * int(draw.integers(1, 20))
    config["head_dim"] = rotary
    _rope(draw, config, kinds)
    config |= {
        "num_key_value_heads": config["num_attention_heads"],
        "q_lora_rank": _up_to(draw, 70) if _is(draw) else None,
        "kv_lora_rank": 2 * _up_to(draw, 40),
        "qk_nope_head_dim": _up_to(draw, 50),
        "qk_rope_head_dim": rotary,
        "v_head_dim": _up_to(draw, 50),
        "attention_bias": _is(draw, 0.3),
    }


def _minicpm3(draw: Draw, config: Config) -> None:
    config |= {"scale_emb": float(draw.integers(1, 13)), "scale_depth": 1.4}
    config["dim_model_base"] = _up_to(draw, config["hidden_size"])
    _latent(draw, config, ("linear", "llama3", "yarn", "longrope"))


def _qwen3_next(draw: Draw, config: Config) -> None:
    heads, key_heads = _state_heads(draw)
    experts = _up_to(draw, 20)
    config |= {
        "layer_types": _mixers(draw, config, ("linear_attention", "full_attention")),
        "linear_num_value_heads": heads,
        "linear_num_key_heads": key_heads,
        "linear_key_head_dim": _up_to(draw, 70),
        "linear_value_head_dim": _up_to(draw, 70),
        "linear_conv_kernel_dim": int(draw.integers(2, 6)),
        "attention_bias": _is(draw, 0.3),
        "num_experts": experts,
        "num_experts_per_tok": _up_to(draw, experts),
        "norm_topk_prob": _is(draw),
        "moe_intermediate_size": _up_to(draw, 150),
        "shared_expert_intermediate_size": _up_to(draw, 100),
        "decoder_sparse_step": int(draw.choice([1, 1, 2])),
        "mlp_only_layers": [0] if _is(draw, 0.3) else [],
    }
    size = config["head_dim"]
    config["partial_rotary_factor"] = 2 * _up_to(draw, size // 2) / size
    _rope(draw, config, ("linear", "llama3", "yarn"))


def _experts(draw: Draw, config: Config) -> None:
    """Experts that a sigmoid chooses by groups."""
    groups = int(draw.choice([1, 1, 2, 4]))
    experts = groups * int(draw.integers(2, 6))
    chosen_groups = _up_to(draw, groups)
    room = experts // groups * chosen_groups
    config |= {
        "mlp_layer_types": _mixers(draw, config, ("dense", "sparse")),
        "num_experts": experts,
        "num_experts_per_tok": _up_to(draw, room),
        "norm_topk_prob": _is(draw, 0.7),
        "n_group": groups,
        "topk_group": chosen_groups,
        "n_shared_experts": int(draw.integers(0, 3)),
        "routed_scaling_factor": 2.5,
        "moe_intermediate_size": _up_to(draw, 90),
    }


def _routed(draw: Draw, config: Config) -> None:
    """Layers of delta and latent attention beside these experts."""
    _experts(draw, config)
    config |= {
        "layer_types": _mixers(draw, config, ("linear_attention", "full_attention")),
        "linear_conv_kernel_dim": int(draw.integers(2, 6)),
        "linear_head_dim": _up_to(draw, 70),
        "linear_num_heads": _up_to(draw, 5),
    }


def _indexed(draw: Draw, config: Config) -> None:
    """Latent attention to chosen tokens, of which there are often fewer than a text has."""
    _experts(draw, config)
    _latent(draw, config, ("linear", "llama3", "yarn"))
    config |= {
        "q_lora_rank": _up_to(draw, 70),
        "index_topk": _up_to(draw, int(draw.choice([20, 100, 300]))),
        "index_head_dim": config["qk_rope_head_dim"] + 2 * int(draw.integers(0, 20)),
        "index_n_heads": _up_to(draw, 20),
    }


def _glm_moe_dsa(draw: Draw, config: Config) -> None:
    _indexed(draw, config)
    config["num_hidden_layers"] += 1
    config["mlp_layer_types"].append("sparse")
    rest = _mixers(draw, config, ("shared", "full"))[1:]
    config["indexer_types"] = ["full", *rest]


def _kimi_linear(draw: Draw, config: Config) -> None:
    _routed(draw, config)
    _latent(draw, config, ())


def _bailing_hybrid(draw: Draw, config: Config) -> None:
    _routed(draw, config)
    _latent(draw, config, ("linear", "llama3", "yarn"))
    config |= {"q_lora_rank": None, "attention_bias": False}
    config |= {"kda_safe_gate": _is(draw), "kda_lower_bound": -float(draw.integers(1, 9))}


def _minimax(draw: Draw, config: Config) -> None:
    experts = _up_to(draw, 12)
    config |= {
        "layer_types": _mixers(draw, config, ("linear_attention", "full_attention")),
        "num_local_experts": experts,
        "num_experts_per_tok": _up_to(draw, experts),
        **{
            f"{part}_{name}_factor": float(draw.uniform(0.5, 3.0))
            for part in ("linear_attn", "full_attn", "mlp")
            for name in ("alpha", "beta")
        },
    }
    _rope(draw, config, ("linear", "llama3", "yarn"))


def _nemotron_h(draw: Draw, config: Config) -> None:
    heads, groups = _state_heads(draw)
    count, per_group = int(draw.choice([1, 1, 2, 3])), int(draw.integers(2, 5))
    taken = _up_to(draw, count)
    del config["rope_theta"]
    config["layer_norm_epsilon"] = config.pop("rms_norm_eps")
    config |= {
        "layers_block_type": draw.choice(
            ["linear_attention", "full_attention", "mlp", "moe"], config["num_hidden_layers"]
        ).tolist(),
        "mamba_num_heads": heads,
        "n_groups": groups,
        "mamba_head_dim": _up_to(draw, 40),
        "ssm_state_size": _up_to(draw, 70),
        "conv_kernel": int(draw.integers(2, 6)),
        "use_conv_bias": _is(draw),
        "time_step_min": float(draw.choice([0.001, 0.3])),
        "n_routed_experts": count * per_group,
        "n_group": count,
        "topk_group": taken,
        "num_experts_per_tok": _up_to(draw, taken * per_group),
        "norm_topk_prob": _is(draw),
        "routed_scaling_factor": float(draw.uniform(0.5, 3.0)),
        "moe_intermediate_size": _up_to(draw, 150),
        "moe_shared_expert_intermediate_size": _up_to(draw, 100),
        "moe_latent_size": _up_to(draw, 60) if _is(draw) else None,
    }


def _glm5_next(draw: Draw, config: Config) -> None:
    _routed(draw, config)
    _latent(draw, config, ())
    kinds = _mixers(draw, config, ("linear_attention", "indexed_attention"))
    full = [True] * len(kinds)
    for layer in range(1, len(kinds)):  # an indexer is for the next layer too, where both attend
        both = kinds[layer - 1] == kinds[layer] == "indexed_attention"
        full[layer] = not (both and full[layer - 1] and _is(draw))
    pool = int(draw.choice([1, 2, 4, 8, 16, 64]))
    bound = draw.choice([None, -1.0, -5.0])
    config |= {
        "layer_types": kinds,
        "indexer_types": ["full" if each else "shared" for each in full],
        "head_dim": 0,
        "qk_rope_head_dim": 0,
        "q_lora_rank": _up_to(draw, 70),
        "n_shared_experts": _up_to(draw, 2),
        "linear_lower_bound": bound if bound is None else float(bound),
        "swiglu_limit": float(draw.choice([0.05, 0.5, 10.0])),
        "hc_mult": _up_to(draw, 5),
        "hc_sinkhorn_iters": int(draw.choice([1, 2, 20])),
        "index_kpool": pool,
        "index_topk": pool * _up_to(draw, 80 // pool + 1),
        "index_head_dim": 2 * _up_to(draw, 30),
        "index_n_heads": _up_to(draw, 9),
    }
    if _is(draw):
        text = {name: config.pop(name) for name in list(config) if name != "model_type"}
        config["text_config"] = text | {"model_type": "glm5_next_text"}


def _qwen4_exp_text(draw: Draw, config: Config) -> None:
    _qwen3_next(draw, config)
    del config["decoder_sparse_step"], config["mlp_only_layers"], config["intermediate_size"]
    kinds = ["linear_attention", "indexed_attention", "full_attention"]
    layers = draw.choice(kinds, config["num_hidden_layers"], p=[0.5, 0.25, 0.25]).tolist()
    deltas = [index + 1 for index, kind in enumerate(layers) if kind == "linear_attention"]
    order, heads, pool = int(draw.integers(2, 5)), _up_to(draw, 3), 1 << int(draw.integers(0, 7))
    rotated = int(config["head_dim"] * config["partial_rotary_factor"])
    config |= {
        "layer_types": layers,
        "output_gate_type": draw.choice(["sigmoid", "silu"]).item() if _is(draw) else None,
        "hc_count": int(draw.integers(2, 6)),
        "hc_lowrank": _up_to(draw, 40),
        "ple_layer_ids": [layer for layer in deltas if _is(draw, 0.8)],
        "ple_embed_dim": (order - 1) * heads * _up_to(draw, 20),
        "ple_conv_kernel_size": int(draw.integers(2, 6)),
        "ngram_size": order,
        "heads_per_ngram": heads,
        "ngram_vocab_size_base": _up_to(draw, 60),
        "make_ngram_vocab_size_divisible_by": _up_to(draw, 20),
        "split_ngram_parts": _up_to(draw, 5),
        "seed": int(draw.integers(0, 5000)),
        "eos_token_id": int(draw.integers(0, config["vocab_size"])),
        "indexer_n_heads": _up_to(draw, 5),
        "indexer_kv_heads": 1,
        "indexer_head_dim": rotated + 2 * int(draw.integers(0, 20)),
        "indexer_budget": pool * _up_to(draw, max(1, 64 // pool)),
        "indexer_compress_ratio": pool,
    }


def _qwen4_exp(draw: Draw, config: Config) -> None:
    """The text has a table of its own, and the head may be tied inside or outside of it."""
    text = dict(config) | {"model_type": "qwen4_exp_text"}
    _qwen4_exp_text(draw, text)
    tied = text.pop("tie_word_embeddings") if _is(draw) else text["tie_word_embeddings"]
    config.clear()
    config |= {"model_type": "qwen4_exp", "tie_word_embeddings": tied, "text_config": text}


_FIELDS: dict[str, Callable[[Draw, Config], None]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "minicpm": _minicpm,
    "hypenet": _hypenet,
    "minicpm_sala": _minicpm_sala,
    "olmo_hybrid": _olmo_hybrid,
    "falcon_h1": _falcon_h1,
    "minicpm3": _minicpm3,
    "qwen3_next": _qwen3_next,
    "kimi_linear": _kimi_linear,
    "bailing_hybrid": _bailing_hybrid,
    "minimax": _minimax,
    "nemotron_h": _nemotron_h,
    "glm5_next": _glm5_next,
    "deepseek_v32": _indexed,
    "glm_moe_dsa": _glm_moe_dsa,
    "qwen4_exp": _qwen4_exp,
    "qwen4_exp_text": _qwen4_exp_text,
}
FAMILIES = tuple(_FIELDS)
PEERS = ("llama", "qwen2", "qwen3", "minicpm3")
"""Those whose drawn configs mean the same to transformers."""


def check(config: Config, seed: int, directory: Path, *, peer: bool = False) -> None:
    """Compile a checkpoint with this config in float32; AssertionError unless logits are right.

    Of a prompt in two cuts and of decoded tokens, compared with the reference in float64; with
    `peer`, that one with transformers first. The tensors are in one file or in several.
    """
    draw = np.random.default_rng([seed, 1])
    checkpoint = write_checkpoint(
        directory / "checkpoint",
        config,
        seed=seed,
        element=str(draw.choice(["BF16", "F16", "F32"])),
        shards=int(draw.integers(1, 4)),
    )
    ids = draw.integers(0, config.get("text_config", config)["vocab_size"], LENGTH)
    reference = reference_model(checkpoint)
    wanted = reference.prefill(ids.tolist())
    if peer:
        np.testing.assert_allclose(_of_transformers(checkpoint, ids), wanted, rtol=0, atol=LIMIT)
    compile_checkpoint(checkpoint, directory / "model.sala", context=256)
    with sala_compile.load(directory / "model.sala", context=256, chunk=LENGTH) as model:
        for chunk in (None, int(draw.integers(1, 80))):
            found = model.logits(ids, chunk=chunk)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=LIMIT)
        with model.sequence() as sequence:
            sequence.append(ids)
            for token in ids[:4].tolist():
                expected = reference.decode(token)
                np.testing.assert_allclose(sequence.append([token]), expected, rtol=0, atol=LIMIT)


def _of_transformers(checkpoint: Path, ids: np.ndarray) -> np.ndarray:
    import torch
    import transformers  # pyright: ignore[reportMissingImports]

    auto: Any = transformers.AutoModelForCausalLM
    model, report = auto.from_pretrained(
        str(checkpoint),
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not any(report.values()), report
    with torch.inference_mode():
        return model(torch.tensor(ids[None])).logits[0].numpy()


def main() -> None:
    """Try the configs of some seeds of some families."""
    parser = argparse.ArgumentParser(description="Compile drawn configs and check their logits.")
    parser.add_argument("--count", type=int, default=20, help="seeds of each family")
    parser.add_argument("--first", type=int, default=100, help="the first seed")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="default: all")
    parser.add_argument("--transformers", action="store_true", help="compare with it too")
    options = parser.parse_args()
    failed = 0
    for seed in range(options.first, options.first + options.count):
        for family in options.family or FAMILIES:
            config = random_config(family, seed)
            peer = options.transformers and family in PEERS
            with tempfile.TemporaryDirectory() as place:
                try:
                    check(config, seed, Path(place), peer=peer)
                except (Exception, SystemExit) as error:
                    failed += 1
                    print(f"{family} {seed}: {json.dumps(config)}", flush=True)
                    print("".join(traceback.format_exception(error)[-3:]), flush=True)
                else:
                    print(f"{family} {seed}: ok", flush=True)
    print(f"{failed} failed")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
