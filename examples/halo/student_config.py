"""The configuration of the student: that of its teacher, and the mixers of a hybrid."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from sala_compile.runtime.errors import RequestError

LIGHTNING = "lightning-attn"
_SHARED = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "hidden_act"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "attention_bias"),
    *("max_position_embeddings", "rms_norm_eps", "rope_theta"),
    *("rope_scaling", "rope_parameters"),
    *("tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range"),
)
PUBLISHED_SPARSE = {
    **{"kernel_size": 32, "kernel_stride": 16, "block_size": 64, "init_blocks": 1},
    **{"window_size": 2048, "topk": 64, "dense_len": 8192, "use_nope": False},
}
"""`sparse_config` of MiniCPM-SALA; what long texts of at least 16K get."""
_SPARSE_SHARE = {"dense_len": 2, "window_size": 8, "topk": 256}
"""By what the length of long texts is divided for a field of the sparse attention."""


class StudentFamily(StrEnum):
    """What a teacher is converted to."""

    HYPENET = "hypenet"
    MINICPM_SALA = "minicpm_sala"

    @property
    def attention(self) -> str:
        """The name of a layer that stays attention."""
        return "attn" if self is StudentFamily.HYPENET else "minicpm4"


def student_config(
    teacher: Mapping[str, Any],
    family: StudentFamily,
    attention_layers: Collection[int],
    long_length: int,
) -> dict[str, Any]:
    """The config.json of a student whose layers are linear but for `attention_layers`.

    Linear layers have as many key-value heads as heads. `long_length` (tokens of the texts of the
    last stage) sizes the sparse attention of `minicpm_sala`: dense below half of it, a window of
    an eighth, and a block for each 256 tokens, at most as published. Its linear layers rotate
    without the teacher's scaling, as those of MiniCPM-SALA do.

    Raises RequestError for a teacher whose values the family cannot hold.
    """
    _check(teacher, family)
    config = {name: teacher.get(name) for name in _SHARED if name in teacher}
    heads, layers = teacher["num_attention_heads"], teacher["num_hidden_layers"]
    config["attention_bias"] = has_bias(teacher)
    config["tie_word_embeddings"] = is_tied(teacher)
    config |= {
        "dtype": "float32",
        "mixer_types": [
            family.attention if layer in attention_layers else LIGHTNING for layer in range(layers)
        ],
        "attn_use_rope": False,
        "attn_use_output_gate": True,
        "lightning_nh": heads,
        "lightning_nkv": heads,
        "lightning_head_dim": teacher["head_dim"],
        "lightning_scale": "1/sqrt(d)",
        "lightning_use_rope": True,
    }
    if family is StudentFamily.HYPENET:
        return config | {
            "architectures": ["HypeNetForCausalLM"],
            "model_type": "hypenet",
            "attn_logits_scaling": None,
            "lightning_use_qk_norm": True,
            "lightning_use_output_norm": True,
            "lightning_use_output_gate": True,
        }
    for name in ("rope_scaling", "rope_parameters"):
        config.pop(name, None)
    is_scaled = teacher["model_type"] == "minicpm"
    return config | {
        "architectures": ["MiniCPMSALAForCausalLM"],
        "model_type": "minicpm_sala",
        "scale_emb": teacher.get("scale_emb", 1.0) if is_scaled else 1.0,
        "scale_depth": teacher.get("scale_depth", 1.0) if is_scaled else float(layers) ** 0.5,
        "dim_model_base": teacher.get("dim_model_base", 1.0)
        if is_scaled
        else float(teacher["hidden_size"]),
        "qk_norm": True,
        "use_output_norm": True,
        "use_output_gate": True,
        "sparse_config": sparse_config(long_length),
    }


def sparse_config(long_length: int) -> dict[str, Any]:
    """The sizes of sparse attention for a model that is trained on texts of that length."""
    shares = {name: long_length // part for name, part in _SPARSE_SHARE.items()}
    least = {"dense_len": 0, "window_size": 0, "topk": PUBLISHED_SPARSE["init_blocks"] + 1}
    bounded = {
        name: max(least[name], min(PUBLISHED_SPARSE[name], share)) for name, share in shares.items()
    }
    return {**PUBLISHED_SPARSE, **bounded}


def has_bias(teacher: Mapping[str, Any]) -> bool:
    """Whether projections of attention have a bias; those that the teacher lacks are then 0."""
    return bool(teacher.get("attention_bias")) or teacher["model_type"] == "qwen2"


def is_tied(teacher: Mapping[str, Any]) -> bool:
    """Whether the head is the embedding; the families have different defaults."""
    return bool(teacher.get("tie_word_embeddings", teacher["model_type"] == "minicpm"))


def _check(teacher: Mapping[str, Any], family: StudentFamily) -> None:
    kind = teacher["model_type"]
    fits = {
        StudentFamily.HYPENET: ("minicpm", "its scales of embedding, residual sum and logits"),
        StudentFamily.MINICPM_SALA: ("qwen3", "the norms of queries and keys in its attention"),
    }
    unfit, reason = fits[family]
    if kind == unfit:
        other = next(each for each in StudentFamily if each is not family)
        raise RequestError(
            f"{family.value} has no place for what {kind} has: {reason}",
            where="--student",
            expected=other.value,
            fix=f"convert to {other.value}",
        )
