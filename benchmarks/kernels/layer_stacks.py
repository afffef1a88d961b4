"""The matrices of some layers of the released model, as kinds of weight that are compared."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.kernels.linear_cases import Case

RELEASED = Path(__file__).parents[2] / "examples" / "released-config.json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to store weights here, and the kinds of ggml that it is compared with."""

    case: Case
    peers: tuple[str, ...]

    @property
    def name(self) -> str:
        """How the table names it."""
        case = self.case
        return case.encoding + "-int8-rows" * (case.x_bits == 8)


def _integers(bits: int, group: int, x_bits: int = 16, **stored: Any) -> Case:
    return Case(0, 0, 0, "bf16", bits=bits, group=group, x_bits=x_bits, **stored)


RELEASED_KINDS = (
    Kind(_integers(4, 32), ("Q4_0", "Q4_K")),
    Kind(_integers(4, 128), ("Q4_0", "Q4_K")),
    Kind(_integers(8, 128), ("Q8_0",)),
    Kind(_integers(4, 32, x_bits=8), ("Q4_0", "Q4_K")),
    Kind(_integers(4, 128, x_bits=8), ("Q4_0", "Q4_K")),
    Kind(_integers(8, 128, x_bits=8), ("Q8_0",)),
    Kind(Case(0, 0, 0, "bf16"), ("BF16",)),
)
"""Peers have as many bits; Q4_0 has a scale for each 32 values and no zeros, like int4-g32."""
_MINIMA: dict[str, Any] = {"minima": True, "super_block": 256}
GGUF_KINDS = (
    Kind(_integers(4, 32), ("Q4_0",)),
    Kind(_integers(8, 32), ("Q8_0",)),
    Kind(_integers(4, 32, minima=True), ("Q4_1",)),
    Kind(_integers(5, 32), ("Q5_0",)),
    Kind(_integers(5, 32, minima=True), ("Q5_1",)),
    Kind(_integers(4, 32, **_MINIMA), ("Q4_K",)),
    Kind(_integers(5, 32, **_MINIMA), ("Q5_K",)),
    Kind(_integers(6, 16, super_block=256), ("Q6_K",)),
    Kind(_integers(4, 32, 8, **_MINIMA), ("Q4_K",)),
    Kind(_integers(6, 16, 8, super_block=256), ("Q6_K",)),
)
"""What blocks of GGUF files are stored as, each compared with ggml on the same blocks."""
KINDS = {"released": RELEASED_KINDS, "gguf": GGUF_KINDS}
ROWS = {"decode": 1, "prefill": 512}


def matrices(layers: int) -> list[tuple[int, int]]:
    """Columns and depth of every matrix of so many layers; the first of each four is sparse."""
    raw = json.loads(RELEASED.read_text())
    hidden, inner = raw["hidden_size"], raw["intermediate_size"]
    width = raw["num_attention_heads"] * raw["head_dim"]
    keys = raw["num_key_value_heads"] * raw["head_dim"]
    forward = [(inner, hidden), (inner, hidden), (hidden, inner)]
    sparse = [(width, hidden), (keys, hidden), (keys, hidden), (width, hidden), (hidden, width)]
    lightning = [*4 * [(width, hidden)], (hidden, width)]
    found = [(lightning if layer % 4 else sparse) + forward for layer in range(layers)]
    return [matrix for layer in found for matrix in layer]


def stack(kind: Kind, rows: int, layers: int) -> list[Case]:
    """The products of `rows` rows with all matrices."""
    return [
        replace(kind.case, rows=rows, columns=columns, depth=depth)
        for columns, depth in matrices(layers)
    ]


def work_name(work: str, kind: str) -> str:
    """The name of a stack's work, of either side."""
    return f"{work} {kind}"
