"""`program.json`: what runs, over which values, and how large they are."""

from collections.abc import Iterable, Set
from enum import StrEnum

from pydantic import Field, model_validator

from sala_compile.runtime.artifact.batch_fields import InputName
from sala_compile.runtime.artifact.dims import Dim, Polynomial, Symbol
from sala_compile.runtime.artifact.format_model import ElementType, Frozen
from sala_compile.runtime.artifact.state_pools import Paging, Pool, PoolPart, check_pool


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
REQUIRED_INPUTS = frozenset({InputName.CONTROL, InputName.TOKENS, InputName.LOGIT_ROWS})
"""The inputs that every runtime writes; others are there if a step reads them."""


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
    last mention.
    """

    steps: tuple[Step, ...]
    live: dict[str, tuple[int, int]] = Field(default_factory=dict)
    alias: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Read and ignored: values that could share storage in earlier artifacts."""


class TargetProgram(Frozen):
    """The phases for one target, whose kernels lie in `library` (a path in the artifact).

    A prompt that is read in several steps has the same bits wherever it is cut at absolute
    multiples of `read_multiple` tokens. With `splits`, tokens that were generated run in the
    decode phase alone, apart from those that are read in the same step.
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


class AttentionPath(Frozen):
    """How layers attend in calls whose sequence has at least `first_length` tokens at their end."""

    first_length: int = Field(ge=0)
    name: str = Field(min_length=1, max_length=100)


class Program(Frozen):
    """All values, and what each target runs over them.

    `pools` describe the state, by names such as `layers.3.kv_cache`: every value of the kind `pool`
    is of one. `paths`: the first from length 0, each up to where the next one begins.
    `logits` names the float32 value [logit_rows, >= vocabulary] that the logits phase writes.
    """

    paging: Paging
    pools: dict[str, Pool] = Field(default_factory=dict)
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
        self._check_known("paging", self.paging.tables)
        inputs = INPUT_NAMES | self.paging.tables.keys()
        symbols = frozenset(Symbol) | self.paging.symbols
        for name, value in self.values.items():
            _check_symbols(name, value, symbols)
            _check_value(name, value, inputs)
        self._check_pools()
        return self

    def pools_of(self, target: str) -> dict[str, dict[str, PoolPart]]:
        """Values of the pools that a target uses, by pool: the part that each stores."""
        own = self.values_of(target)
        return {
            name: {v: part for part in pool.parts for v in part.stored if v in own}
            for name, pool in self.pools.items()
        }

    def _check_pools(self) -> None:
        """Every value of a pool is of one part of one pool, and holds what that describes."""
        shapes = {n: v.shape for n, v in self.values.items() if v.kind is ValueKind.POOL}
        for name, pool in self.pools.items():
            check_pool(name, pool, self.paging, shapes)
        stored = [v for p in self.pools.values() for part in p.parts for v in part.stored]
        unknown = sorted(shapes.keys() - set(stored))
        if unknown or len(set(stored)) < len(stored):
            raise ValueError(f"values.{(unknown or ['?'])[0]} is in none of the pools, or in two")

    def values_of(self, target: str) -> dict[str, Value]:
        """The values that a target can touch: all but those that only other targets mention."""
        own, programs = self.targets[target], self.targets.values()
        others = {name for each in programs if each is not own for name in each.mentioned()}
        if others:
            others -= own.mentioned()
        shared = {name for name, value in self.values.items() if value.kind is ValueKind.INPUT}
        return {n: v for n, v in self.values.items() if n not in others or n in shared}

    def _check_known(self, where: str, names: Iterable[str]) -> None:
        unknown = [name for name in names if name not in self.values]
        if unknown:
            raise ValueError(f"{where} names unknown values: {', '.join(unknown)}")

    def _check_phase(self, where: str, phase: Phase) -> None:
        self._check_known(f"{where}.live", phase.live)
        for name in phase.live:
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


def pool_symbol(value: Value) -> str:
    """The symbol that counts the rows of a pool: the pages of a group, or slots."""
    lead = value.shape[0] if value.shape else 0
    if isinstance(lead, Polynomial) and len(lead.terms) == 1:
        factor, symbols = lead.terms[0]
        if factor == 1 and len(symbols) == 1:
            return symbols[0]
    raise ValueError("the first dim of a pool is pages of a group, or slots")


def _check_symbols(name: str, value: Value, known: frozenset[str]) -> None:
    for dim in value.shape:
        terms = dim.terms if isinstance(dim, Polynomial) else ()
        strange = [s for _, symbols in terms for s in symbols if s not in known]
        if strange:
            raise ValueError(f"values.{name}: there is no size {strange[0]!r}")


def _check_paths(paths: tuple[AttentionPath, ...]) -> None:
    starts = [path.first_length for path in paths]
    if starts[0] != 0 or starts != sorted(set(starts)):
        raise ValueError(f"paths begin at {starts}, which do not ascend from 0")
    if len({path.name for path in paths}) < len(paths):
        raise ValueError("two paths have one name")


def _check_value(name: str, value: Value, inputs: Set[str]) -> None:
    if any(isinstance(dim, int) and dim < 0 for dim in value.shape):
        raise ValueError(f"values.{name}: negative dim")
    if (value.kind is ValueKind.INPUT) != (name in inputs):
        raise ValueError(f"values.{name}: kind {value.kind.value} does not go with this name")
    if value.kind is ValueKind.INPUT and value.dtype is not ElementType.INT32:
        raise ValueError(f"values.{name}: inputs are int32")
    fixed = not any(isinstance(dim, Polynomial) for dim in value.shape)
    if value.kind is ValueKind.WEIGHT and not fixed:
        raise ValueError(f"values.{name}: a weight has a fixed shape")
