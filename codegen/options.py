"""What a user requests of the compiler, checked."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.round_pages import PageStorage
from sala_compile.passes.support.quantization import Quantization, TiedHead
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.plan import check_tokens
from sala_compile.sala_ir.frontends import AttentionMode

DEFAULT_CALIBRATION_TOKENS = 4096
"""Tokens of a calibration text that are used."""


class WeightRounding(StrEnum):
    """How values become integers."""

    GPTQ = "gptq"
    """Error-aware: rounding errors cancel for the inputs of a calibration text."""
    NEAREST = "nearest"


class WeightOrigin(StrEnum):
    """Where the weights come from."""

    CHECKPOINT = "checkpoint"
    RANDOM = "random"
    """A seed: no weights are written, a loader makes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """One compilation. `checkpoint` is None if `config_file` is planned, or its weights are random.

    `graph` is compiled in place of what the configuration captures, with weights of `checkpoint`,
    or of the one that it names. `given`: the options that were requested, not left as they are.

    `kv`: how full pages of keys and values are stored. `page_size`: tokens of a page of state, None
    for a block of selection.
    `context` (tokens of the longest sequence) and `chunk` (new tokens of one prefill step) are the
    artifact's defaults, a loader may request others.
    """

    checkpoint: Path | None
    output: Path | None
    targets: tuple[str, ...] = ("cpu",)
    dtype: Precision = Precision.BFLOAT16
    attention: AttentionMode = AttentionMode.CONFIG
    quantization: Quantization = Quantization.NONE
    requantization: Quantization = Quantization.NONE
    tied_head: TiedHead = TiedHead.AUTO
    activations: Activations = Activations.WIDE
    kv: PageStorage = PageStorage.WIDE
    rounding: WeightRounding = WeightRounding.GPTQ
    calibration: Path | None = None
    calibration_tokens: int = DEFAULT_CALIBRATION_TOKENS
    activation_order: bool = False
    weights: WeightOrigin = WeightOrigin.CHECKPOINT
    context: int = 32768
    chunk: int = 512
    page_size: int | None = None
    dump_ir: Path | None = None
    stop_after: str | None = None
    dry_run: bool = False
    config_file: Path | None = None
    graph: Path | None = None
    given: frozenset[str] = frozenset()
    tuning: Path | None = None

    @property
    def writes(self) -> bool:
        """True if an artifact is written at the end."""
        return not (self.dry_run or self.stop_after)

    @property
    def calibrates(self) -> bool:
        """True if a calibration text decides how weights are rounded."""
        rounds = self.quantization is not Quantization.NONE and not self.is_random
        return rounds and self.rounding is WeightRounding.GPTQ

    @property
    def is_random(self) -> bool:
        """True if weights are made from a seed."""
        return self.weights is WeightOrigin.RANDOM

    def check(self) -> None:
        """Raise RequestError if the options contradict each other."""
        check_tokens("--context", self.context)
        check_tokens("--chunk", self.chunk)
        check_tokens("--page-size", self.page_size or 0)
        if not self.calibrates and (self.calibration is not None or self.activation_order):
            raise RequestError(
                "--calibration and --activation-order are for error-aware rounding",
                expected="--quantize int4-g128, int4-g32 or int8 with --rounding gptq",
            )
        if self.checkpoint is None and self.config_file is None and self.graph is None:
            raise RequestError("no checkpoint is named", fix="give a directory, or --config FILE")
        if self.config_file is not None and (self.checkpoint or self.graph) is not None:
            raise RequestError("both a checkpoint and --config are given", fix="give one of them")
        if self.config_file is None and self.graph is None and self.is_random:
            raise RequestError(
                "--weights random is for a configuration without a checkpoint",
                fix="give --config FILE in place of the checkpoint, or leave --weights out",
            )
        if self.config_file is not None and self.writes and not self.is_random:
            raise RequestError(
                "--config has no weights to compile",
                fix="add --weights random or --dry-run, or name a checkpoint",
            )
        if self.writes and self.output is None:
            raise RequestError("no output is named", fix="add -o NAME.sala")
        if self.chunk > self.context:
            raise RequestError(
                f"--chunk {self.chunk} is longer than --context {self.context}",
                fix="take a chunk of at most the context",
            )
