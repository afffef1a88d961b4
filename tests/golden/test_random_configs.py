"""Configs drawn from all that a family supports, against the reference in float64.

`python -m tests.support.random_configs` tries as many as there is time for.
"""

from pathlib import Path

import pytest

from sala_compile.sala_ir.frontends import FRONTENDS
from tests.support.random_configs import FAMILIES, check, random_config

SEEDS = {
    **{"llama": 1, "qwen2": 1, "qwen3": 1, "minicpm": 4, "hypenet": 3, "minicpm_sala": 2},
    **{"olmo_hybrid": 1, "falcon_h1": 1, "minicpm3": 1, "qwen3_next": 1},
    **{"kimi_linear": 1, "bailing_hybrid": 1, "minimax": 1, "nemotron_h": 1, "glm5_next": 1},
    **{"deepseek_v32": 1, "glm_moe_dsa": 1},
    **{"qwen4_exp": 1, "qwen4_exp_text": 1},
}
"""Heads and hidden sizes that do not fit each other, scaled and tied, of each family."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_drawn_config(family: str, tmp_path: Path) -> None:
    check(random_config(family, SEEDS[family]), SEEDS[family], tmp_path)


def test_every_family_is_drawn() -> None:
    assert set(FAMILIES) == set(FRONTENDS)
