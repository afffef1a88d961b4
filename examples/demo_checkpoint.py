"""Writes a small MiniCPM-SALA checkpoint with seeded random weights, as Hugging Face lays it out.

    python examples/demo_checkpoint.py OUT

The structure is the released model's: 8 layers, the first and the last sparse, Lightning layers
between them, gates, norms and muP scales. Sizes are scaled down, so that a prompt of 256 bytes is
already in the sparse regime. It says nothing sensible: it was never trained.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from sala_ir.random_checkpoint import write_random_checkpoint

SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
BOS, EOS = 1, (2, 4)

CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def byte_vocabulary() -> dict[str, int]:
    """Return the special tokens and one token for each byte, in byte-level spelling."""
    spellings = sorted(pre_tokenizers.ByteLevel.alphabet())
    return {token: index for index, token in enumerate((*SPECIAL, *spellings))}


def byte_tokenizer() -> tokenizers.Tokenizer:
    """Return a tokenizer whose tokens are the bytes of UTF-8; texts begin with `<s>`."""
    core = tokenizers.Tokenizer(
        models.BPE(vocab=byte_vocabulary(), merges=[], unk_token=SPECIAL[0])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    return core


def config() -> dict[str, Any]:
    """Return config.json: the released fields with small sizes."""
    between = ["lightning-attn"] * 6
    return {
        "architectures": ["MiniCPMSALAForCausalLM"],
        "model_type": "minicpm_sala",
        "vocab_size": len(byte_vocabulary()),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.1,
        "max_position_embeddings": 65536,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "scale_emb": 12,
        "scale_depth": 1.4,
        "dim_model_base": 32,
        "mup_denominator": 32,
        "mixer_types": ["minicpm4", *between, "minicpm4"],
        "attn_use_rope": False,
        "attn_use_output_gate": True,
        "lightning_nh": 4,
        "lightning_nkv": 4,
        "lightning_head_dim": 32,
        "lightning_scale": "1/sqrt(d)",
        "lightning_use_rope": True,
        "qk_norm": True,
        "use_output_norm": True,
        "use_output_gate": True,
        "sparse_config": {
            "kernel_size": 8,
            "kernel_stride": 4,
            "block_size": 16,
            "init_blocks": 1,
            "window_size": 64,
            "topk": 4,
            "dense_len": 256,
            "use_nope": False,
        },
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": list(EOS),
        "pad_token_id": EOS[0],
        "pretraining_tp": 1,
        "use_cache": True,
        "dtype": "bfloat16",
    }


def write_demo(directory: Path, *, seed: int = 0) -> Path:
    """Write the whole checkpoint into `directory` and return it."""
    write_random_checkpoint(directory, config(), seed=seed, adjust=_prefer_printable)
    byte_tokenizer().save(str(directory / "tokenizer.json"))
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    _write_json(
        directory / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": SPECIAL[BOS],
            "eos_token": SPECIAL[EOS[0]],
            "unk_token": SPECIAL[0],
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    _write_json(
        directory / "generation_config.json",
        {
            "bos_token_id": BOS,
            "eos_token_id": list(EOS),
            "pad_token_id": EOS[0],
            "temperature": 0.9,
        },
    )
    return directory


def _prefer_printable(name: str, start: int, rows: np.ndarray) -> np.ndarray:
    """Give a logit of 0 to every token but the printable ASCII characters."""
    if name != "lm_head.weight":
        return rows
    printable = [len(token) == 1 and " " < token <= "~" for token in byte_vocabulary()]
    printable[byte_vocabulary()["\u0120"]] = True  # the byte-level spelling of a space
    return rows * np.asarray(printable[start : start + len(rows)], np.float32)[:, None]


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Write the checkpoint that the command line names."""
    parser = argparse.ArgumentParser(description="Write the demo checkpoint.")
    parser.add_argument("out", type=Path, help="directory to write it to")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights")
    arguments = parser.parse_args()
    directory = write_demo(arguments.out, seed=arguments.seed)
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"wrote {directory} ({size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    main()
