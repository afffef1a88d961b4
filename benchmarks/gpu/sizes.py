"""The released model's sizes, as the GPU benchmarks use them."""

import json
from dataclasses import dataclass
from pathlib import Path

RELEASED = Path(__file__).parents[2] / "examples" / "released-config.json"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Widths, heads and layers of a MiniCPM-SALA model."""

    hidden: int
    intermediate: int
    vocabulary: int
    sparse_layers: int
    lightning_layers: int
    heads: int
    kv_heads: int
    head_dim: int
    block: int
    stride: int
    budget: int
    """Blocks that a sparse query reads at most."""

    @classmethod
    def released(cls) -> "Sizes":
        """Those of the published configuration."""
        raw = json.loads(RELEASED.read_text())
        sparse = raw["sparse_config"]
        lightning = sum(kind.startswith("lightning") for kind in raw["mixer_types"])
        return cls(
            hidden=raw["hidden_size"],
            intermediate=raw["intermediate_size"],
            vocabulary=raw["vocab_size"],
            sparse_layers=len(raw["mixer_types"]) - lightning,
            lightning_layers=lightning,
            heads=raw["num_attention_heads"],
            kv_heads=raw["num_key_value_heads"],
            head_dim=raw["head_dim"],
            block=sparse["block_size"],
            stride=sparse["kernel_stride"],
            budget=sparse["topk"] + sparse["window_size"] // sparse["block_size"],
        )

    @property
    def linear_weights(self) -> int:
        """Values of the linears of all layers, of which a token multiplies each once."""
        width, mixer = self.heads * self.head_dim, self.hidden
        feed_forward = 3 * self.hidden * self.intermediate
        keys = 2 * mixer * self.kv_heads * self.head_dim
        lightning = self.lightning_layers * (5 * mixer * width + feed_forward)
        return lightning + self.sparse_layers * (3 * mixer * width + keys + feed_forward)
