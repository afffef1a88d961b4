"""The attention paths that a program states follow from what its ops do by call length."""

import pytest

from sala_compile.codegen.program.call_paths import attention_paths
from sala_compile.sala_ir.context import parse_module
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from tests.support.checkpoints import tiny_config

ROPE = (
    "%{name} = sala.rope_table %batch {{frequencies = dense<{rows}> : tensor<{count}x1xf32>, "
    "starts = dense<{starts}> : tensor<{count}xi64>}} -> tensor<?x2xf32>"
)


def stated(module):
    return [(path.first_length, path.name) for path in attention_paths(module)]


@pytest.mark.parametrize(
    ("mode", "paths"),
    [
        (AttentionMode.CONFIG, [(0, "dense"), (64, "sparse")]),
        (AttentionMode.SPARSE, [(0, "sparse")]),
        (AttentionMode.DENSE, [(0, "dense")]),
    ],
)
def test_a_model_states_the_paths_of_its_mode(mode, paths):
    raw = tiny_config()
    frontend = frontend_for(raw)
    assert stated(frontend.build_module(frontend.parse_config(raw), mode)) == paths


def test_a_model_without_attention_has_one_path():
    assert stated(parse_module("func.func @step() {\n  func.return\n}")) == [(0, "dense")]


def rope(name, rows, starts):
    return ROPE.format(name=name, rows=rows, count=len(starts), starts=list(starts))


def test_rotary_ranges_and_selection_make_any_number_of_paths():
    """Selection from 64 tokens on, other frequencies from 32 and from 128 tokens on."""
    kv, ck = "!sala.kv_cache<1, 16, 16, f32>", "!sala.compressed_keys<1, 8, 4, 16, 16, f32>"
    x = "tensor<?x16xf32>"
    sizes = (
        "heads <num_heads = 1, kv_heads = 1, head_dim = 16, scale = 1.0> "
        "selection <kernel_size = 8, kernel_stride = 4, block_size = 16, "
        "init_blocks = 1, window_blocks = 1, topk = 2, dense_len = 64>"
    )
    module = parse_module(
        f"""func.func @step(%x: {x}, %kv: {kv}, %ck: {ck}, %batch: !sala.batch) {{
  {rope("a", "[[1.0], [2.0], [3.0]]", (0, 32, 128))}
  {rope("b", "[[1.0]]", (0,))}
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %x, %x, %x, %kv, %ck, %batch {sizes}
    : {x}, {x}, {x}, {kv}, {ck} -> {x}, {kv}, {ck}
  func.return
}}"""
    )
    assert stated(module) == [
        (0, "short-rope dense"),
        (32, "long-rope-32 dense"),
        (64, "long-rope-32 sparse"),
        (128, "long-rope-128 sparse"),
    ]
