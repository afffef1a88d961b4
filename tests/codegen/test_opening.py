"""What is told, taken and refused when a checkpoint is opened to be compiled."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource
from sala_compile.runtime.errors import CheckpointError, SalaError
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
WEIGHTS = "model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2894896\n"
GPTQ = {
    **{"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False},
    "checkpoint_format": "gptq",
}


def opened(checkpoint: Path, **options: Any) -> ModelSource:
    """The checkpoint as the compiler opens it."""
    chosen = {"context": 1024, "output": None, "dry_run": True} | options
    with ExitStack() as stack:
        return open_source(CompileOptions(checkpoint=checkpoint, **chosen), stack)


def small(folder: Path, **fields: Any) -> Path:
    config = tiny_config(mixers=(SPARSE, LIGHTNING), vocabulary=128, **fields)
    return write_checkpoint(folder / "checkpoint", config, element="F32")


def replace(checkpoint: Path, **tensors: np.ndarray | None) -> None:
    """Put tensors into the file, `.` written as `__`; None takes one out."""
    named = {name.replace("__", "."): values for name, values in tensors.items()}
    merged = load_file(checkpoint / WEIGHTS) | named
    kept = {name: values for name, values in merged.items() if values is not None}
    save_file(kept, checkpoint / WEIGHTS)


def test_what_a_user_should_know_is_told_once(tmp_path: Path):
    assert opened(small(tmp_path)).notes == ()
    source = opened(small(tmp_path, colour="red", shape=3, sparse_config=None), context=8192)
    unknown, dense, too_long = source.notes
    assert unknown.endswith(": colour, shape")
    assert "no sparse_config" in dense
    assert "8192 tokens is longer than the 4096" in too_long
    assert opened(small(tmp_path), context=4096).notes == ()


def test_a_tied_model_may_hold_its_head_if_it_is_the_embedding(tmp_path: Path):
    checkpoint = small(tmp_path, tied=True)
    embedding = load_file(checkpoint / WEIGHTS)[EMBEDDING]
    replace(checkpoint, lm_head__weight=embedding.copy())
    assert HEAD not in opened(checkpoint).tensors
    replace(checkpoint, lm_head__weight=embedding + np.float32(1))
    with pytest.raises(CheckpointError, match=r"lm_head.weight has other values"):
        opened(checkpoint)
    untied = small(tmp_path, tied=False)
    assert HEAD in opened(untied).tensors


def test_rotary_buffers_change_nothing(tmp_path: Path):
    checkpoint = small(tmp_path)
    before = opened(checkpoint)
    replace(checkpoint, model__layers__1__self_attn__rotary_emb__inv_freq=np.ones(8))
    after = opened(checkpoint)
    assert after.tensors == before.tensors
    assert after.parameters == before.parameters


FILES = (WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.mark.parametrize("name", FILES)
def test_git_lfs_pointers_are_recognised(tmp_path: Path, name: str):
    checkpoint = small(tmp_path)
    (checkpoint / name).write_bytes(POINTER)
    with pytest.raises(SalaError, match="Git LFS pointer") as caught:
        opened(checkpoint)
    assert name in str(caught.value.where)
    assert "git lfs pull" in str(caught.value.fix)


@pytest.mark.parametrize("name", FILES)
def test_pipes_in_place_of_files_are_refused_at_once(tmp_path: Path, name: str):
    checkpoint = small(tmp_path)
    (checkpoint / name).unlink(missing_ok=True)
    os.mkfifo(checkpoint / name)
    with pytest.raises(SalaError, match="is a pipe"):
        opened(checkpoint)


def with_integers(checkpoint: Path, module: str, rows: int, columns: int) -> None:
    """Store a matrix as integers of GPTQ."""
    parts = {
        "qweight": np.full((columns // 8, rows), 0x11111111, np.int32),
        "qzeros": np.full((columns // 32, rows // 8), 0x77777777, np.int32),
        "scales": np.full((columns // 32, rows), 0.5, np.float16),
    }
    named = {f"{module}.{name}".replace(".", "__"): values for name, values in parts.items()}
    replace(checkpoint, **{f"{module}.weight".replace(".", "__"): None}, **named)


def test_an_embedding_may_be_integers_too(tmp_path: Path):
    checkpoint = small(tmp_path)
    (checkpoint / "quantize_config.json").write_text(json.dumps(GPTQ | {"lm_head": True}))
    with_integers(checkpoint, "lm_head", 128, 64)
    assert list(opened(checkpoint).integers) == [HEAD]
    with_integers(checkpoint, "model.embed_tokens", 128, 64)
    assert set(opened(checkpoint).integers) == {EMBEDDING, HEAD}


def test_notes_of_a_quantised_checkpoint_are_told_too(tmp_path: Path):
    checkpoint = small(tmp_path)
    with_integers(checkpoint, "model.layers.1.mlp.down_proj", 64, 96)
    (checkpoint / "quantize_config.json").write_text(json.dumps(GPTQ | {"colour": 1}))
    side, unknown = opened(checkpoint).notes
    assert "quantize_config.json was read" in side
    assert unknown.endswith("quantize_config.json that are not known here and not used: colour")
