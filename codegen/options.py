"""What a user asks of the compiler, checked."""

from dataclasses import dataclass
from pathlib import Path

from passes.assign_precision import Precision
from passes.quantization import Quantization
from runtime.errors import RequestError
from sala_ir.frontends import AttentionMode

BUILT = (Quantization.NONE,)
"""Quantisations whose kernels can be built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """One compilation. `checkpoint` is None where only `config_file` is planned.

    `context` (tokens of the longest sequence) and `chunk` (new tokens of one prefill step) are the
    artifact's defaults, a loader may ask for others.
    """

    checkpoint: Path | None
    output: Path | None
    targets: tuple[str, ...] = ("cpu",)
    dtype: Precision = Precision.BFLOAT16
    attention: AttentionMode = AttentionMode.CONFIG
    quantization: Quantization = Quantization.NONE
    context: int = 32768
    chunk: int = 512
    dump_ir: Path | None = None
    stop_after: str | None = None
    dry_run: bool = False
    config_file: Path | None = None
    tuning: Path | None = None

    @property
    def writes(self) -> bool:
        """True where an artifact is written at the end."""
        return not (self.dry_run or self.stop_after)

    def check(self) -> None:
        """Raise RequestError where the options contradict each other."""
        if self.checkpoint is None and self.config_file is None:
            raise RequestError("no checkpoint is named", fix="give a directory, or --config FILE")
        if self.checkpoint is not None and self.config_file is not None:
            raise RequestError("both a checkpoint and --config are given", fix="give one of them")
        if self.config_file is not None and not (self.dry_run or self.stop_after):
            raise RequestError(
                "--config has no weights to compile", fix="add --dry-run, or name a checkpoint"
            )
        if self.writes and self.output is None:
            raise RequestError("no output is named", fix="add -o NAME.sala")
        if self.writes and self.quantization not in BUILT:
            raise RequestError(
                f"no kernels read weights of --quantize {self.quantization.value} yet",
                expected=f"--quantize {' or '.join(BUILT)}: kernels read bfloat16 and float32",
                fix="leave --quantize out, or add --dry-run, which plans what will be",
            )
        if self.chunk > self.context:
            raise RequestError(
                f"--chunk {self.chunk} is longer than --context {self.context}",
                fix="take a chunk of at most the context",
            )
