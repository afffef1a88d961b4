"""Writes the golden checkpoint `minicpm-nope`: random weights, and what `model.py` computes.

python -m tests.golden.independent.record
"""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from tests.golden.independent.model import MiniCPM

FOLDER = Path(__file__).parents[1] / "data" / "minicpm-nope"
PROMPTS = (5, 65, 200, 330)
DECODED = 32
SEED = 15
HALF = 9
CONFIG: dict[str, Any] = {
    "architectures": ["MiniCPMForCausalLM"],
    "model_type": "minicpm",
    "vocab_size": 151,
    "hidden_size": 108,
    "intermediate_size": 100,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "attention_bias": True,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 216,
    "rope_scaling": {
        "rope_type": "longrope",
        "short_factor": [round(0.99 + 0.08 * i, 6) for i in range(HALF)],
        "long_factor": [round(0.99 + 0.15 * i**2, 6) for i in range(HALF)],
        "original_max_position_embeddings": 216,
    },
    "scale_emb": 12,
    "scale_depth": 1.4,
    "dim_model_base": 36,
    "tie_word_embeddings": False,
    "sparse_config": {
        "kernel_size": 16,
        "kernel_stride": 8,
        "init_blocks": 2,
        "block_size": 24,
        "window_size": 48,
        "topk": 5,
        "use_nope": True,
        "dense_len": 90,
    },
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def random_tensors(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of the config, exactly bfloat16, that keep the stream and the logits near 1."""
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    keys = CONFIG["num_key_value_heads"] * hidden // CONFIG["num_attention_heads"]
    rows = {
        **{"self_attn.q_proj": (hidden, hidden, 1.6), "self_attn.k_proj": (keys, hidden, 1.6)},
        **{"self_attn.v_proj": (keys, hidden, 1.4), "self_attn.o_proj": (hidden, hidden, 1.4)},
        **{"mlp.gate_proj": (inner, hidden, 1.0), "mlp.up_proj": (inner, hidden, 1.0)},
        "mlp.down_proj": (hidden, inner, 1.4),
    }
    shape, factor = (CONFIG["vocab_size"], hidden), CONFIG["dim_model_base"] / hidden
    found = {
        "model.embed_tokens.weight": random.standard_normal(shape) / CONFIG["scale_emb"],
        "lm_head.weight": random.standard_normal(shape) * 2 / (factor * hidden**0.5),
        "model.norm.weight": _norm(random),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        for part, (outputs, inputs, gain) in rows.items():
            weight = random.standard_normal((outputs, inputs)) * gain / inputs**0.5
            found[f"{name}{part}.weight"] = weight
            if part.startswith("self_attn"):
                found[f"{name}{part}.bias"] = random.standard_normal(outputs) * 0.2
        for part in ("input_layernorm", "post_attention_layernorm"):
            found[f"{name}{part}.weight"] = _norm(random)
    return {
        name: each.astype(np.float32).astype(ml_dtypes.bfloat16) for name, each in found.items()
    }


def _norm(random: np.random.Generator) -> np.ndarray:
    return 1 + 0.2 * random.standard_normal(CONFIG["hidden_size"])


def expected(tensors: dict[str, np.ndarray], random: np.random.Generator) -> dict[str, Any]:
    """The outputs for every prompt; `lead` and `margin` are the closest choices of all."""
    found: dict[str, Any] = {"lead": np.inf, "margin": np.inf}
    for number, length in enumerate(PROMPTS):
        ids = random.integers(3, CONFIG["vocab_size"], length)
        model = MiniCPM(CONFIG, tensors)
        prefill = model.call(ids)
        hidden = np.stack(model.hidden)[:, -8:]
        chosen = [_blocks(model, range(length))]
        rows, greedy = [prefill[-1]], []
        while True:
            order = np.sort(rows[-1])
            found["lead"] = min(found["lead"], order[-1] - order[-2])
            greedy.append(int(rows[-1].argmax()))
            position = model.length
            row = model.call(np.array([greedy[-1]]))[0]
            chosen.append(_blocks(model, range(position, position + 1)))
            if len(greedy) == DECODED:
                break
            rows.append(row)
        found["margin"] = min(found["margin"], model.margin)
        width = max(each.shape[-1] for each in chosen)
        chosen = [np.pad(x, [(0, 0)] * 3 + [(0, width - x.shape[-1])]) for x in chosen]
        found |= {
            f"p{number}.input_ids": ids.astype(np.int32),
            f"p{number}.prefill_logits": prefill.astype(np.float32),
            f"p{number}.greedy_ids": np.array(greedy, np.int32),
            f"p{number}.decode_logits": np.stack(rows).astype(np.float32),
            f"p{number}.hidden_last8": hidden.astype(np.float32),
            f"p{number}.selected_blocks": np.concatenate(chosen, axis=2),
        }
    return found


def _blocks(model: MiniCPM, positions: range) -> np.ndarray:
    """[layers, kv heads, queries, blocks] of the last call: all up to the own one where dense."""
    if model.selected:
        return np.stack(model.selected)
    own = np.array(positions) // CONFIG["sparse_config"]["block_size"]
    mask = (np.arange(own[-1] + 1) <= own[:, None]).astype(np.uint8)
    return np.broadcast_to(mask, (model.layers, model.kv_heads, *mask.shape))


def main() -> None:
    """Write the folder; refuse where a choice is so close that float32 could make another."""
    random = np.random.default_rng(SEED)
    tensors = random_tensors(random)
    found = expected(tensors, random)
    lead, margin = found.pop("lead"), found.pop("margin")
    deviation = found["p3.prefill_logits"].std()
    print(f"lead {lead:.3f}, margin {margin:.1e}, logits {deviation:.2f}")
    assert lead > 0.01, "a greedy step is close"
    assert margin > 3e-4, "a selection is close"
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file(tensors, FOLDER / "model.safetensors", metadata={"format": "pt"})
    save_file({n: np.ascontiguousarray(x) for n, x in found.items()}, FOLDER / "golden.safetensors")


if __name__ == "__main__":
    main()
