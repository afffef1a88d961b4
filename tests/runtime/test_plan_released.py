"""The memory plan of the released 32-layer model, compiled on paper."""

import json
from pathlib import Path

import pytest

from codegen.compiler import compile_model
from codegen.options import CompileOptions
from codegen.progress import Silent

CONFIG = Path(__file__).parents[2] / "examples" / "released-config.json"
CONTEXT = 1 << 20


@pytest.fixture(scope="module")
def memory() -> dict:
    """The document `memory` of a dry run at a million tokens."""
    options = CompileOptions(
        checkpoint=None, output=None, dry_run=True, config_file=CONFIG, context=CONTEXT
    )
    return compile_model(options, Silent()).summary["memory"]


def test_the_arena_is_within_5_percent_of_its_lower_bound(memory: dict):
    assert memory["parts"]["arena"] <= 1.05 * memory["arena_lower_bound_bytes"]


def test_the_state_is_what_the_configuration_implies(memory: dict):
    config = json.loads(CONFIG.read_text())
    sparse = config["mixer_types"].count("minicpm4")
    linear = len(config["mixer_types"]) - sparse
    row = config["num_key_value_heads"] * config["head_dim"] * 2
    assert memory["parts"]["kv_pages"] == sparse * CONTEXT * 2 * row
    stride = config["sparse_config"]["kernel_stride"]
    keys = CONTEXT // stride + CONTEXT // (4 * stride)
    assert memory["parts"]["compressed_keys"] == sparse * keys * row
    state = config["lightning_nh"] * config["lightning_head_dim"] ** 2 * 4
    assert memory["parts"]["recurrent_state"] == linear * state


def test_the_parts_add_up(memory: dict):
    assert memory["total_bytes"] == sum(memory["parts"].values())
