"""The shapes that a runtime relies on: a value has all the rows that are written to it."""

from sala_compile.runtime.artifact.batch_fields import INPUT_SHAPES, InputName
from sala_compile.runtime.artifact.dims import Dim, Polynomial, Symbol, dim_of
from sala_compile.runtime.artifact.format_model import ElementType
from sala_compile.runtime.artifact.program import (
    MODEL_PHASES,
    PhaseName,
    Program,
    Value,
    ValueKind,
)

MAX_TERMS = 16
LARGEST = 2**40
"""The largest factor and extent: no honest program has larger ones."""
_TOKENS, _SEQUENCES = dim_of(Symbol.TOKENS), dim_of(Symbol.SEQUENCES)
_ROWS, _WORKERS = dim_of(Symbol.LOGIT_ROWS), dim_of(Symbol.WORKERS)

OLDER_SAMPLING: tuple[Dim, ...] = (_ROWS, 4)
"""The width for programs whose device does not know `min_p`: the host then applies it."""
PHASE_ROWS: dict[PhaseName, tuple[Dim, ...]] = {
    PhaseName.PREFILL: (_TOKENS,),
    PhaseName.DECODE: (_SEQUENCES, _TOKENS),
    PhaseName.LOGITS: (_ROWS, _TOKENS),
    PhaseName.SAMPLE: (_ROWS,),
}
"""The names that the rows of the activations of a phase may have."""


def check_shapes(program: Program) -> None:
    """Raise ValueError for a value whose shape does not go with what is written to it."""
    fields = {name.value: shape for name, shape in INPUT_SHAPES.items()}
    inputs = fields | program.paging.tables
    for name, value in program.values.items():
        _check_dims(name, value)
        if value.kind is ValueKind.INPUT:
            older = name == InputName.SAMPLING.value and value.shape == OLDER_SAMPLING
            _require(name, value, older or value.shape == inputs[name])
        if value.kind is ValueKind.WORKSPACE:
            _require(name, value, value.shape[:1] == (_WORKERS,) and len(value.shape) == 2)
    for target in program.targets.values():
        missing = [phase.value for phase in MODEL_PHASES if phase not in target.phases]
        if missing:
            raise ValueError(f"targets: a target has no phase {missing[0]}")
        for phase, body in target.phases.items():
            for name in {name for step in body.steps for name in step.arguments}:
                value = program.values[name]
                if value.kind is ValueKind.ACTIVATION:
                    _require(
                        name, value, value.shape[:1] in [(rows,) for rows in PHASE_ROWS[phase]]
                    )
    logits = program.values[program.logits]
    floats = logits.kind is ValueKind.ACTIVATION and logits.dtype is ElementType.FLOAT32
    whole = len(logits.shape) == 2 and isinstance(logits.shape[1], int)
    _require(program.logits, logits, floats and whole and logits.shape[0] == _ROWS)


def _check_dims(name: str, value: Value) -> None:
    for dim in value.shape:
        terms = dim.terms if isinstance(dim, Polynomial) else ((dim, ()),)
        small = all(0 <= factor <= LARGEST and len(symbols) <= 2 for factor, symbols in terms)
        _require(name, value, small and len(terms) <= MAX_TERMS)


def _require(name: str, value: Value, fits: bool) -> None:
    if not fits:
        dims = ", ".join(map(_spelt, value.shape))
        raise ValueError(
            f"values.{name} has the shape [{dims}], which no {value.kind.value} of this name, "
            "these phases and this paging has"
        )


def _spelt(dim: Dim) -> str:
    if isinstance(dim, int):
        return str(dim)
    return " + ".join(" * ".join((str(factor), *names)) for factor, names in dim.terms)
