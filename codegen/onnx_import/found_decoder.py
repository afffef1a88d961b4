"""What the patterns find in the graph of a dense decoder."""

from dataclasses import dataclass

from sala_compile.codegen.onnx_import.grouped_integers import GroupedIntegers
from sala_compile.codegen.onnx_import.rotary_table import FoundRotary


@dataclass(frozen=True, slots=True)
class FoundMatrix:
    """A weight [rows, columns]: `name` is stored so, or transposed; then rows are some columns.

    `rows` of 0 are all, from `first` on.
    """

    name: str
    transposed: bool
    first: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class FoundIntegers:
    """A weight [rows, columns] that is stored as integers: some rows of `whole`, or all for 0."""

    whole: GroupedIntegers
    first: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class FoundLinear:
    """x times a matrix, and the name of a vector that is added, or none."""

    x: str
    matrix: FoundMatrix | FoundIntegers
    bias: str = ""


@dataclass(frozen=True, slots=True)
class FoundNorm:
    """The name of an RMS norm's weight, and its epsilon."""

    weight: str
    eps: float


@dataclass(frozen=True, slots=True)
class FoundAttention:
    """Projections, norms of heads or None, sizes; `positions` of a rotary table, 0 if computed.

    `scale` multiplies scores, to a relative error of `scale_error`.
    """

    query: FoundLinear
    key: FoundLinear
    value: FoundLinear
    query_norm: FoundNorm | None
    key_norm: FoundNorm | None
    num_heads: int
    kv_heads: int
    scale: float
    rotary: FoundRotary
    positions: int
    past: str
    scale_error: float = 1e-6


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """One layer."""

    input_norm: FoundNorm
    attention: FoundAttention
    output: FoundLinear
    mlp_norm: FoundNorm
    gate: FoundLinear
    up: FoundLinear
    down: FoundLinear


@dataclass(frozen=True, slots=True)
class FoundDecoder:
    """A whole model."""

    embedding: FoundMatrix | FoundIntegers
    layers: tuple[FoundLayer, ...]
    norm: FoundNorm
    head: FoundLinear
