"""Hugging Face transformers on torch eager, bfloat16, with the values of the same GGUF file.

Run by the Python of an environment that has transformers, torch and what `sala-compile` needs.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from benchmarks.models.side import Side, serve
from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf
from sala_compile.sala_ir.frontends import frontend_for


class TransformersSide(Side):
    """One model; sequences of a history begin with random keys and values."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Take the values of the GGUF file `model` for `threads` threads."""
        self.versions = {"transformers": transformers.__version__, "torch": torch.__version__}
        torch.set_num_threads(options["threads"])
        torch.set_grad_enabled(False)
        path = Path(options["model"])
        with TemporaryDirectory() as folder, open_gguf(path, Path(folder)) as checkpoint:
            frontend = frontend_for(checkpoint.config)
            expected = frontend.expected_tensors(frontend.parse_config(checkpoint.config))
            config = AutoConfig.for_model(**checkpoint.config)
            with torch.device("meta"):
                self._model = AutoModelForCausalLM.from_config(
                    config, dtype=torch.bfloat16, attn_implementation="sdpa"
                )
            values = {
                name: torch.from_numpy(np.asarray(checkpoint.read(name), np.float32)).bfloat16()
                for name in expected
            }
        self._model.load_state_dict(values, strict=False, assign=True)
        self._model.tie_weights()
        rotary = self._model.model.rotary_emb
        self._model.model.rotary_emb = type(rotary)(config=config)  # its buffers are not stored
        self._model.eval()
        self._config = config

    def prepare(self, batch: int, length: int, room: int) -> None:
        """Hold `batch` sequences of `length` tokens each; the cache grows by itself."""
        self._cache = DynamicCache(config=self._config)
        if length:
            heads, size = self._config.num_key_value_heads, self._config.head_dim
            for layer in range(self._config.num_hidden_layers):
                keys, values = torch.randn(2, batch, heads, length, size).bfloat16()
                self._cache.update(keys, values, layer)
            self._tokens = 3 + torch.arange(batch)[:, None]

    def step(self) -> None:
        """Decode one token of every sequence; the likeliest is the next."""
        self._tokens = self._forward(self._tokens)

    def read(self, tokens: int) -> None:
        """Read a prompt of so many tokens into an empty sequence, to the logits of the last."""
        ids = np.random.default_rng(0).integers(3, self._config.vocab_size, tokens)
        self._cache = DynamicCache(config=self._config)
        self._forward(torch.from_numpy(ids)[None])

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        output = self._model(ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1:].argmax(-1)


if __name__ == "__main__":
    serve(TransformersSide)
