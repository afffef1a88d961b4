"""Released models with experts: their configs under `examples/configs` have as many parameters as
their publishers say, of all and of what one token reads."""

import json
from math import prod
from pathlib import Path

import pytest

from sala_compile.sala_ir.frontends import frontend_for

CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
INDEXERS = 61 * (1536 * 8192 + 7168 * (128 + 64)) / 1e9
"""Billions of parameters that DeepSeek-V3.2 has more than V3, of which the numbers are."""
MODELS = {
    "qwen3-next-80b-a3b": (79.7, 3.9, "num_experts"),
    "minimax-text-01": (456.0, 45.9 + 2.46, "num_local_experts"),
    "nemotron-3-nano-30b-a3b": (31.6, 3.6, "n_routed_experts"),
    "deepseek-v3.2": (671 + INDEXERS, 37 + INDEXERS, "n_routed_experts"),
    "qwen3.8-flash-next": (176.0, 6.0 + 1.27, "num_experts"),
}
"""Billions of parameters, those that a token reads with embedding and head (which MiniMax's own
45.9 and Qwen's own 6.0 leave out), and the field that counts the experts."""


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_that_were_published(name: str) -> None:
    total, active, field = MODELS[name]
    raw = json.loads((CONFIGS / f"{name}.json").read_text())
    text = raw.get("text_config", raw)
    frontend = frontend_for(raw)
    config = frontend.parse_config(raw)
    sizes = {name: prod(shape) for name, shape in frontend.expected_tensors(config).items()}
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    tables = sum(size for name, size in sizes.items() if ".ngram_embedding." in name)
    read = text["num_experts_per_tok"] / text[field]
    assert sum(sizes.values()) / 1e9 == pytest.approx(total, rel=0.01)
    found = (sum(sizes.values()) - tables - experts * (1 - read)) / 1e9
    assert found == pytest.approx(active, rel=0.03)
