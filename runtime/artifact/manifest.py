"""`manifest.json`: what an artifact is, what it needs, and every file with its hash."""

from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt

from sala_compile.runtime.artifact.format_model import Frozen
from sala_compile.runtime.artifact.seeded import SeededWeights

MAJOR = 2
"""2: a step says which of its tokens were generated."""
MINOR = 0
LARGEST = 2**31 - 1
"""Positions and token ids are int32."""


class FormatVersion(Frozen):
    """An artifact is read by a runtime of the same major version."""

    major: int = MAJOR
    minor: int = MINOR

    def __str__(self) -> str:
        """The version as `major.minor`."""
        return f"{self.major}.{self.minor}"


class ModelInfo(Frozen):
    """The model: `sizes` are named integers of its configuration, for people.

    `trained_length`: tokens that it was trained on at most, None if its configuration does not say.
    `digest` is that of its checkpoint, weights and configuration; empty if that is not known.
    """

    family: str
    config_digest: str
    digest: str = ""
    vocabulary: PositiveInt = Field(le=LARGEST)
    sizes: dict[str, int] = Field(default_factory=dict)
    trained_length: PositiveInt | None = None
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None


class TargetInfo(Frozen):
    """A library, the processor it is for and the instructions that it needs.

    `library` and `runtime` are paths in the artifact; `runtime` is the kernel runtime that the
    library is linked against (None if it needs none). `instructions` are spelt as in
    /proc/cpuinfo or as LLVM does, both are understood.
    """

    library: str
    runtime: str | None = None
    architecture: str = "x86_64"
    mcpu: str
    instructions: tuple[str, ...] = ()


class TensorInfo(Frozen):
    """How a stored weight encodes its logical tensor."""

    encoding: str
    dtype: str
    shape: tuple[int, ...]
    layout: str


class QuantizedTensor(Frozen):
    """A tensor of the checkpoint in a quantised model.

    `role` is what it is for, `encoding` how it is stored (`plain`: as it was). Errors are the root
    of the lost part of the squares: of the weight, and of the linear's outputs for the
    calibration text; None if that is not known.
    """

    role: str
    encoding: str
    weight_error: float | None = None
    output_error: float | None = None


class CalibrationInfo(Frozen):
    """The text that the rounding was fitted to: `sha256` of its token ids as int32."""

    origin: str
    tokens: PositiveInt
    sha256: str
    activation_order: bool = False


class QuantizationInfo(Frozen):
    """How the integers of a model were made: `rounding` is gptq, nearest, or the checkpoint's.

    `scheme` is the requested encoding, or the format of the checkpoint, of which `requantized` says
    what was rounded once more; `weight_error` is that of all rounded weights together.
    """

    scheme: str
    rounding: str = Field(pattern="^(gptq|nearest|checkpoint)$")
    calibration: CalibrationInfo | None = None
    requantized: str = ""
    weight_error: float | None = None
    tensors: dict[str, QuantizedTensor]

    def __str__(self) -> str:
        """How the integers were made, in a line."""
        if self.rounding == "checkpoint":
            again = f"; {self.requantized}" if self.requantized else ""
            return f"{self.scheme}, as the checkpoint stores it{again}"
        if self.calibration is None:
            return f"{self.scheme}, each value rounded to the nearest"
        found = self.calibration
        order = ", in activation order" if found.activation_order else ""
        return f"{self.scheme} by GPTQ on {found.tokens} tokens of {found.origin}{order}"


class LogitEffect(Frozen):
    """What a rounding changes in the logits of some tokens, by the reference.

    `largest` and `rms` are differences between the logits with and without it, of which
    `deviation` is the standard deviation; after `changed` of the `tokens` another token is
    the likeliest.
    """

    tokens: PositiveInt
    largest: float
    rms: float
    deviation: float
    changed: NonNegativeInt

    def __str__(self) -> str:
        """What is done to the logits, in a line."""
        unit = self.deviation
        return (
            f"move the logits of {self.tokens} tokens by {self.rms / unit:.2%} of their standard "
            f"deviation (RMS), {self.largest / unit:.2%} at most; another token becomes the "
            f"likeliest after {self.changed} of them"
        )


class ActivationsInfo(Frozen):
    """Which linears multiply integer weights by rounded activations: `scheme` is int8.

    The linears of the `targets` whose weights are integers, except for the roles in `wide`.
    `effect` is None if there were no weights to compare.
    """

    scheme: str
    targets: tuple[str, ...]
    wide: tuple[str, ...]
    effect: LogitEffect | None = None

    def __str__(self) -> str:
        """The changes in a line."""
        place = f"{self.scheme} activations on {', '.join(self.targets)}"
        found = self.effect
        if found is None:
            return f"{place}; their effect on the logits is not known"
        return f"{place} {found}"


class PagesInfo(Frozen):
    """How full pages of keys and values are stored, where not as they are: `scheme` is --kv.

    `page` is the tokens of one. `effect` is that on tokens of a text beyond its first page; None
    if there were no weights.
    """

    scheme: str
    page: PositiveInt
    effect: LogitEffect | None = None

    @property
    def form(self) -> str:
        """What two models have in common that share states."""
        return f"{self.scheme} in pages of {self.page} tokens"

    def __str__(self) -> str:
        """The changes in a line."""
        place = f"keys and values of full pages of {self.page} tokens in {self.scheme}"
        if self.effect is None:
            return f"{place}; their effect on the logits is not known"
        return f"{place} {self.effect}"


class FileInfo(Frozen):
    """Size in bytes and SHA-256 (lower-case hexadecimal) of a file."""

    size: NonNegativeInt
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class PassInfo(Frozen):
    """A pass and the operations before and after it."""

    name: str
    before: int
    after: int


class Rejection(Frozen):
    """A rule that was tried before the chosen one, and why it refused."""

    rule: str
    reason: str


KernelConstant = bool | int | float | str | tuple[bool | int | float | str, ...]
"""A constant that a kernel was compiled for, or a number of its schedule."""


class KernelInfo(Frozen):
    """A kernel, the rule that chose it and the rules that refused.

    `spec` has the constants that it was compiled for; `schedule` its tiles if they were tuned,
    nothing if they are the family's default.
    """

    symbol: str
    family: str
    rule: str
    target: str = "cpu"
    spec: dict[str, KernelConstant] = Field(default_factory=dict)
    schedule: dict[str, Any] = Field(default_factory=dict)
    rejected: tuple[Rejection, ...] = ()


class GoldenKind(Frozen):
    """Where the golden logits come from: `reference` or the compiling `machine`."""

    kind: str = Field(pattern="^(reference|machine)$")


class Manifest(Frozen):
    """The first file to be read. `files` and `digest` are filled in by the writer.

    `context` and `chunk` are the defaults at load, in tokens. `seeded` takes the place of weight
    files if the weights are random. `versions` are those of the
    packages that made the artifact; the runtime checks `apache-tvm-ffi`.
    """

    format: FormatVersion = FormatVersion()
    model: ModelInfo
    attention: str
    dtype: str
    context: PositiveInt = Field(le=LARGEST)
    chunk: PositiveInt = Field(le=LARGEST)
    targets: dict[str, TargetInfo]
    versions: dict[str, str]
    tensors: dict[str, TensorInfo] = Field(default_factory=dict)
    weight_files: tuple[str, ...] = ()
    seeded: SeededWeights | None = None
    quantization: QuantizationInfo | None = None
    activations: ActivationsInfo | None = None
    kv: PagesInfo | None = None
    golden: GoldenKind | None = None
    passes: tuple[PassInfo, ...] = ()
    kernels: tuple[KernelInfo, ...] = ()
    files: dict[str, FileInfo] = Field(default_factory=dict)
    digest: str = ""
