"""A model as a `torch.nn.Module`: the captured graph, computed by the differentiable reference."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import array_api_compat.torch as namespace
import numpy as np
from safetensors.torch import save_file
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.interpreter import Interpreter
from xdsl.interpreters.func import FuncFunctions

import torch
from sala_compile.runtime.artifact.batch_fields import InputName, PlainChunk
from sala_compile.sala_ir.checkpoint.checkpoint import WEIGHTS_FILE, Checkpoint
from sala_compile.sala_ir.dialect import StateType
from sala_compile.sala_ir.frontends import CONFIG_FILE, AttentionMode, frontend_for
from sala_compile.sala_ir.interpreter import Numerics, SalaFunctions, step_inputs
from sala_compile.sala_ir.interpreter.reference_model import argument_names
from sala_compile.sala_ir.interpreter.weight_rows import WholeTensors
from sala_compile.sala_ir.reference import LightningForm

INITIAL_SPREAD = 0.02
"""Standard deviation of matrices that no checkpoint gives."""


class SalaModule(torch.nn.Module):
    """Whole texts in, logits out; its parameters have the names and shapes of the checkpoint's.

    Gradients reach every parameter. Values are computed in the element type of the parameters, on
    their device; nothing is rounded in between. A Lightning layer takes `form`: chunked, for
    training, or the recurrence that it equals. The choice of blocks of a sparse layer is made of
    values, so that no gradient passes through it.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        attention: AttentionMode = AttentionMode.CONFIG,
        dtype: torch.dtype = torch.float32,
        form: LightningForm = LightningForm.CHUNKED,
    ) -> None:
        """A model of a config.json's contents: norms of 1, biases of 0, small random matrices."""
        super().__init__()
        frontend = frontend_for(config)
        parsed = frontend.parse_config(config)
        self.config, self.form = dict(config), form
        self._graph = _Graph(frontend.build_module(parsed, attention))
        self._tensors = frontend.expected_tensors(parsed)
        for name, shape in self._tensors.items():
            values = torch.empty(shape, dtype=dtype)
            if len(shape) > 1:
                torch.nn.init.normal_(values, std=INITIAL_SPREAD)
            else:
                torch.nn.init.constant_(values, 0.0 if name.endswith("bias") else 1.0)
            _place(self, name, torch.nn.Parameter(values))

    @classmethod
    def from_checkpoint(cls, directory: Path, **options: Any) -> Self:
        """The model of a Hugging Face directory with its weights; options as of the class."""
        with Checkpoint.open(directory) as opened:
            model, frontend = cls(opened.config, **options), frontend_for(opened.config)
            config = frontend.parse_config(opened.config)
            checkpoint = opened.renamed(frontend.other_names(config))
            unread = {name for name in checkpoint.tensors if frontend.is_unread(name, config)}
            checkpoint.check(model._tensors, unread)
            weights = {
                name: torch.from_numpy(checkpoint.read(name).astype(np.float64))
                for name in model._tensors
            }
        model.load_state_dict(weights)
        return model

    def save(self, directory: Path, source: Path | None = None) -> None:
        """Write config.json and model.safetensors, which `sala-compile` and transformers take.

        Tokenizer and texts are copied from the checkpoint directory `source`.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for path in () if source is None else source.glob("*.json*"):
            shutil.copyfile(path, directory / path.name)
        text = json.dumps(self.config, indent=2) + "\n"
        (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, directory / WEIGHTS_FILE, metadata={"format": "pt"})

    def forward(self, token_ids: torch.Tensor, call_length: int | None = None) -> torch.Tensor:
        """Logits [texts, tokens, vocabulary] of int64 ids [texts, tokens].

        `call_length` tokens decide between dense and sparse attention; by default those given.
        """
        return self._run(token_ids, call_length, {})

    def with_hidden(
        self, token_ids: torch.Tensor, call_length: int | None = None
    ) -> tuple[torch.Tensor, dict[int | None, torch.Tensor]]:
        """Also the residual stream [texts, tokens, hidden] after every layer, None: before all."""
        hidden: dict[int | None, torch.Tensor] = {}
        logits = self._run(token_ids, call_length, hidden)
        shape = (*token_ids.shape, -1)
        return logits, {layer: value.reshape(shape) for layer, value in hidden.items()}

    def _run(
        self,
        token_ids: torch.Tensor,
        call_length: int | None,
        hidden: dict[int | None, torch.Tensor],
    ) -> torch.Tensor:
        texts, tokens = token_ids.shape
        weights = dict(self.named_parameters())
        first = next(iter(weights.values()))
        numerics = Numerics(
            namespace=namespace, dtype=first.dtype, device=first.device, lightning=self.form
        )

        def notice(kind: str, layer: int | None, value: Any) -> None:
            if kind == "hidden":
                hidden[layer] = value

        functions = SalaFunctions(WholeTensors(weights.__getitem__), numerics, notice)
        none = np.zeros(tokens, np.int32)
        chunks = [PlainChunk(none, 0, call_length or tokens, slot) for slot in range(texts)]
        inputs: dict[str, Any] = dict(step_inputs(chunks))
        inputs[InputName.TOKENS] = token_ids.reshape(-1)
        inputs[InputName.LOGIT_ROWS] = np.arange(texts * tokens, dtype=np.int32)
        return self._graph.logits(functions, inputs).reshape(texts, tokens, -1)


class _Graph:
    """The captured step, which torch need not look into."""

    def __init__(self, module: ModuleOp) -> None:
        self._module = module
        (step,) = (op for op in module.ops if isinstance(op, FuncOp))
        self._arguments = list(
            zip(argument_names(step), step.function_type.inputs.data, strict=True)
        )

    def logits(self, functions: SalaFunctions, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The logits of one call of new sequences."""
        interpreter = Interpreter(self._module)
        interpreter.register_implementations(FuncFunctions())
        interpreter.register_implementations(functions)
        values = (
            {} if isinstance(kind, StateType) else inputs.get(name)
            for name, kind in self._arguments
        )
        return interpreter.call_op("step", tuple(values))[0]


def _place(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
    """Register a parameter whose name has dots: a module for each part but the last."""
    *path, last = name.split(".")
    for part in path:
        if part not in module._modules:
            module.add_module(part, torch.nn.Module())
        module = module.get_submodule(part)
    module.register_parameter(last, parameter)
