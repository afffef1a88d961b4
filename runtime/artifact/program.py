"""`program.json`: what runs, over which values, and how large they are."""

from enum import StrEnum

from pydantic import Field, model_validator

from sala_compile.runtime.artifact.base import ElementType, Frozen
from sala_compile.runtime.artifact.batch_fields import InputName
from sala_compile.runtime.artifact.dims import Dim, Polynomial, Symbol


class ValueKind(StrEnum):
    """Where a value lives."""

    INPUT = "input"
    """Written by the runtime before each step: `control`, batch fields."""
    ACTIVATION = "activation"
    """In the arena, over its live interval."""
    WORKSPACE = "workspace"
    """In the arena, for one step."""
    WEIGHT = "weight"
    """A tensor of the weight files, mapped."""
    POOL = "pool"
    """State of the sequences, for as long as the model is loaded."""


ARENA_KINDS = frozenset({ValueKind.ACTIVATION, ValueKind.WORKSPACE})


class PhaseName(StrEnum):
    """A specialisation of the step; also the order of the timeline on which memory is packed."""

    PREFILL = "prefill"
    DECODE = "decode"
    LOGITS = "logits"
    SAMPLE = "sample"
    """Optional: chooses a token from each row of logits, where a device can."""


MODEL_PHASES = (PhaseName.PREFILL, PhaseName.DECODE, PhaseName.LOGITS)
"""The phases that every target has."""


READ_MULTIPLE = 64
"""Tokens: the least multiple at which reading may be cut without a change of bits."""
INPUT_NAMES = frozenset(name.value for name in InputName)
REQUIRED_INPUTS = INPUT_NAMES - {InputName.SAMPLING.value}


class Value(Frozen):
    """A buffer: its kind, element type and shape. Rows beyond the live ones are never touched."""

    kind: ValueKind
    dtype: ElementType
    shape: tuple[Dim, ...]


class Step(Frozen):
    """One kernel call; `arguments` are names of values in the kernel's order."""

    kernel: str
    family: str
    layer: int | None = None
    arguments: tuple[str, ...]


class Phase(Frozen):
    """A list of steps.

    `live` gives the first and the last step (inclusive, counted from the phase's own first step)
    of every activation and workspace that the phase touches. On the timeline
    prefill ++ decode ++ logits ++ sample a value of several phases is live from its first to its
    last mention. `alias` names for a value the one whose storage it shares, offset 0.
    """

    steps: tuple[Step, ...]
    live: dict[str, tuple[int, int]] = Field(default_factory=dict)
    alias: dict[str, str] = Field(default_factory=dict)


class TargetProgram(Frozen):
    """The phases for one target, whose kernels lie in `library` (a path in the artifact).

    A text that is read in several steps has the same bits wherever it is cut at absolute multiples
    of `read_multiple` tokens. With `splits`, tokens that were generated run in the decode phase
    alone, apart from those that are read in the same step.
    """

    library: str
    read_multiple: int = Field(default=READ_MULTIPLE, gt=0)
    splits: bool = False
    phases: dict[PhaseName, Phase]

    def mentioned(self) -> frozenset[str]:
        """The names of all values that its steps are called with."""
        steps = (step for phase in self.phases.values() for step in phase.steps)
        return frozenset(name for step in steps for name in step.arguments)


class Observation(Frozen):
    """Values that may be read as soon as all of them are live: `values` role -> value name.

    Roles of `selected_blocks` are `blocks` and `counts`, of the others `value`.
    """

    layer: int | None = None
    phase: PhaseName
    values: dict[str, str]


class Paging(Frozen):
    """Tokens that one page covers: of the KV pools, and of the compressed keys."""

    page_tokens: int = Field(gt=0)
    compressed_page_tokens: int = Field(gt=0)

    @model_validator(mode="after")
    def _whole_pages(self) -> "Paging":
        if self.compressed_page_tokens % self.page_tokens:
            raise ValueError("a compressed page covers whole pages")
        return self


class AttentionPath(Frozen):
    """How layers attend in calls whose sequence has at least `first_length` tokens at their end."""

    first_length: int = Field(ge=0)
    name: str = Field(min_length=1, max_length=100)


class Program(Frozen):
    """All values, and what each target runs over them.

    `paths`: the first from length 0, each up to where the next one begins.
    `logits` names the float32 value [logit_rows, >= vocabulary] that the logits phase writes.
    """

    paging: Paging
    paths: tuple[AttentionPath, ...] = Field(min_length=1)
    logits: str
    values: dict[str, Value]
    targets: dict[str, TargetProgram]
    observable: dict[str, tuple[Observation, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_resolve(self) -> "Program":
        _check_paths(self.paths)
        self._check_known("logits", [self.logits])
        self._check_known("inputs", REQUIRED_INPUTS)
        for target, program in self.targets.items():
            for name, phase in program.phases.items():
                self._check_phase(f"targets.{target}.{name.value}", phase)
        for kind, observations in self.observable.items():
            for observation in observations:
                self._check_known(f"observable.{kind}", observation.values.values())
        for name, value in self.values.items():
            _check_value(name, value)
        return self

    def values_of(self, target: str) -> dict[str, Value]:
        """The values that a target can touch: all but those that only other targets mention."""
        others = {name for program in self.targets.values() for name in program.mentioned()}
        others -= self.targets[target].mentioned()
        shared = {name for name, value in self.values.items() if value.kind is ValueKind.INPUT}
        return {n: v for n, v in self.values.items() if n not in others or n in shared}

    def _check_known(self, where: str, names) -> None:
        unknown = [name for name in names if name not in self.values]
        if unknown:
            raise ValueError(f"{where} names unknown values: {', '.join(unknown)}")

    def _check_phase(self, where: str, phase: Phase) -> None:
        self._check_known(f"{where}.live", phase.live)
        shared = [*phase.alias, *phase.alias.values()]
        self._check_known(f"{where}.alias", shared)
        for name in [*phase.live, *shared]:
            if self.values[name].kind not in ARENA_KINDS:
                raise ValueError(f"{where}: {name} does not live in the arena")
        for index, step in enumerate(phase.steps):
            place = f"{where}.steps.{index} ({step.kernel})"
            self._check_known(place, step.arguments)
            for name in step.arguments:
                self._check_live(place, phase, index, name)
        for name, (first, last) in phase.live.items():
            if not 0 <= first <= last < max(1, len(phase.steps)):
                raise ValueError(f"{where}.live.{name}: [{first}, {last}] is not an interval")

    def _check_live(self, where: str, phase: Phase, index: int, name: str) -> None:
        if self.values[name].kind not in ARENA_KINDS:
            return
        first, last = phase.live.get(name, (1, 0))
        if not first <= index <= last:
            raise ValueError(f"{where} uses {name} outside of its live interval")


POOL_SYMBOLS = (Symbol.PAGES, Symbol.COMPRESSED_PAGES, Symbol.SLOTS)


def pool_symbol(value: Value) -> Symbol:
    """What the rows of a pool are: KV pages, compressed pages or recurrent slots."""
    lead = value.shape[0] if value.shape else 0
    if isinstance(lead, Polynomial):
        for symbol in POOL_SYMBOLS:
            if lead.terms == ((1, (symbol,)),):
                return symbol
    raise ValueError("the first dim of a pool is pages, compressed_pages or slots")


def _check_paths(paths: tuple[AttentionPath, ...]) -> None:
    starts = [path.first_length for path in paths]
    if starts[0] != 0 or starts != sorted(set(starts)):
        raise ValueError(f"paths begin at {starts}, which do not ascend from 0")
    if len({path.name for path in paths}) < len(paths):
        raise ValueError("two paths have one name")


def _check_value(name: str, value: Value) -> None:
    if any(isinstance(dim, int) and dim < 0 for dim in value.shape):
        raise ValueError(f"values.{name}: negative dim")
    if (value.kind is ValueKind.INPUT) != (name in INPUT_NAMES):
        raise ValueError(f"values.{name}: kind {value.kind.value} does not go with this name")
    if value.kind is ValueKind.INPUT and value.dtype is not ElementType.INT32:
        raise ValueError(f"values.{name}: inputs are int32")
    if value.kind is ValueKind.POOL:
        try:
            pool_symbol(value)
        except ValueError as error:
            raise ValueError(f"values.{name}: {error}") from None
    fixed = not any(isinstance(dim, Polynomial) for dim in value.shape)
    if value.kind is ValueKind.WEIGHT and not fixed:
        raise ValueError(f"values.{name}: a weight has a fixed shape")
