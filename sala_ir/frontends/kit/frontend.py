"""A model family as the compiler sees it: from a config to facts, tensors and a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.dialect import WeightOp
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig
from sala_compile.sala_ir.frontends.kit.decoder import EMBEDDING, HEAD
from sala_compile.sala_ir.frontends.kit.facts import ModelFacts
from sala_compile.sala_ir.frontends.kit.step import StepWriter

CONFIG_FILE = "config.json"

Config = TypeVar("Config", bound=DecoderConfig)


class Frontend(ABC, Generic[Config]):
    """Reads the configs of a family and captures its models; a family overrides two methods."""

    ROOT: ClassVar[str] = "model."
    """What the names of the tensors begin with, but for the head's."""
    EMBEDDING: ClassVar[str] = EMBEDDING
    """The name of the embedding after that."""

    def __init__(self, config: type[Config]):
        self._config = config

    @abstractmethod
    def states(self, config: Config, attention: AttentionMode) -> Mapping[str, StateType]:
        """The states of the step, `layers.<n>.<kind>` each, in the order of its arguments."""

    @abstractmethod
    def emit(
        self, step: StepWriter, batch: SSAValue, config: Config, attention: AttentionMode
    ) -> SSAValue:
        """Write the ops of the model; the logits of the wanted rows."""

    def attention_mode(self, config: Config, requested: AttentionMode) -> AttentionMode:
        """How the model attends; by default it has no sparse attention.

        Raises `ConfigError` where sparse attention is requested of a config without it.
        """
        if requested is not AttentionMode.SPARSE:
            return AttentionMode.DENSE
        raise ConfigError(
            f"{self._config.FAMILY} has no sparse attention",
            where="--attention sparse",
            expected="a model of sparse attention",
            fix="leave --attention out",
        )

    def parse_config(self, raw: Mapping[str, Any], *, file: str = CONFIG_FILE) -> Config:
        """The checked config; raises `ConfigError` with the field, what it is, what it must be."""
        return self._config.read(raw, file)

    def config_notes(self, raw: Mapping[str, Any], config: Config, file: str) -> tuple[str, ...]:
        """Sentences on the config that its user should read, one for all unknown fields."""
        return config.notes(raw, file)

    def facts(self, config: Config) -> ModelFacts:
        """What the compiler reads of a model besides graph and tensors."""
        return config.facts

    def expected_tensors(self, config: Config) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that a checkpoint with this config holds, in model order:
        those that the graph reads."""
        captured = self._capture(config, self.attention_mode(config, AttentionMode.CONFIG))
        weights = [op for op in captured.walk() if isinstance(op, WeightOp)]
        return {name: shape for op in weights for name, shape in op.tensors.items()}

    def tied_tensors(self, config: Config) -> dict[str, str]:
        """Tensors that a checkpoint may hold as well, each with the expected one that it equals."""
        return {HEAD: self.ROOT + self.EMBEDDING} if config.tie_word_embeddings else {}

    def other_names(self, config: Config) -> dict[str, str]:
        """Names by which some checkpoints have a tensor, each with the expected one."""
        return {}

    def is_unread(self, name: str, config: Config) -> bool:
        """Whether a tensor of a checkpoint is for something else than the model: for drafting."""
        return False

    def implied_numbers(self, config: Config) -> Mapping[str, Sequence[int]]:
        """Tensors of whole numbers that a checkpoint may hold and the config implies."""
        return {}

    def build_module(
        self, config: Config, attention: AttentionMode = AttentionMode.CONFIG
    ) -> ModuleOp:
        """A verified module with one function `@step`: a ragged batch through the whole model.

        Raises `ConfigError` where sparse attention is requested of a config without it.
        """
        module = self._capture(config, self.attention_mode(config, attention))
        module.verify()
        return module

    def _capture(self, config: Config, attention: AttentionMode) -> ModuleOp:
        step = StepWriter(self.ROOT)
        batch = step.begin(self.states(config, attention))
        return step.finish(self.emit(step, batch, config, attention))


def is_after_layers(name: str, layers: int, root: str = Frontend.ROOT) -> bool:
    """Whether a tensor is of a layer after so many; names begin with `root`."""
    prefix = f"{root}layers."
    number, _, _ = name.removeprefix(prefix).partition(".")
    return name.startswith(prefix) and number.isdecimal() and int(number) >= layers
