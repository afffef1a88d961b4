"""Bytes and operations of every step, from the program and the live sizes.

Bytes are those that a step must move: weights once, live rows of activations, the part of the
state that it touches; workspaces and the fields of the batch are not counted. Operations are the
multiplications and additions of products with weights, keys, values and recurrent states, by the
recurrence; norms, gates and softmax are not counted. Sparse layers count what their budget allows.
"""

from dataclasses import dataclass
from math import prod

from sala_compile.runtime.artifact import (
    Artifact,
    ElementType,
    PhaseName,
    Polynomial,
    Step,
    Value,
    ValueKind,
    pages_of,
    pool_symbol,
)
from sala_compile.runtime.state.attention_paths import PathRule


@dataclass(frozen=True, slots=True)
class Live:
    """Live sizes of a step: each of `sequences` gets `tokens` new ones after `history` tokens.

    `call_length` is the length of a sequence when its whole call is done.
    """

    sequences: int
    tokens: int
    history: int
    call_length: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step must move and compute."""

    bytes: int = 0
    operations: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """The sum of both."""
        return Cost(self.bytes + other.bytes, self.operations + other.operations)


class CostModel:
    """The costs of the steps of an artifact's target."""

    def __init__(self, artifact: Artifact, target: str) -> None:
        """Nothing is loaded."""
        self._artifact = artifact
        self._phases = artifact.program.targets[target].phases
        self._rule = PathRule(artifact.program.paths)
        groups = artifact.program.paging.groups
        self._groups = {pages_of(name): group for name, group in groups.items()}
        self._specs = {kernel.symbol: kernel.spec for kernel in artifact.manifest.kernels}

    def steps(self, phase: PhaseName, live: Live) -> list[Cost]:
        """The cost of each step of a phase."""
        found = self._phases.get(phase)
        return [self._step(phase, step, live) for step in found.steps] if found else []

    def total(self, live: Live) -> Cost:
        """The cost of a step of the model, logits of the last token of each sequence included."""
        phase = PhaseName.DECODE if live.tokens == 1 else PhaseName.PREFILL
        return sum(self.steps(phase, live) + self.steps(PhaseName.LOGITS, live), Cost())

    def prefill(self, length: int, chunk: int) -> Cost:
        """The cost of a whole prompt of one sequence."""
        lives = [
            Live(1, min(chunk, length - begin), begin, length) for begin in range(0, length, chunk)
        ]
        whole = sum((self.total(live) for live in lives), Cost())
        logits = sum(self.steps(PhaseName.LOGITS, lives[-1]), Cost())
        extra = len(lives) - 1  # only the last chunk has logits
        return Cost(
            whole.bytes - extra * logits.bytes, whole.operations - extra * logits.operations
        )

    def _step(self, phase: PhaseName, step: Step, live: Live) -> Cost:
        rows = live.sequences * (1 if phase is PhaseName.LOGITS else live.tokens)
        values = self._artifact.program.values
        cost = Cost()
        for name in dict.fromkeys(step.arguments):
            value = values[name]
            if value.kind is ValueKind.WEIGHT:
                cost += self._weight(step, value, rows)
            elif value.kind is ValueKind.ACTIVATION:
                cost += Cost(bytes=_row_bytes(value) * rows)
            elif value.kind is ValueKind.POOL:
                cost += self._pool(step, value, live)
        return cost + Cost(operations=self._products(step, rows))

    def _weight(self, step: Step, value: Value, rows: int) -> Cost:
        size = prod(_fixed(value)) * value.dtype.itemsize
        if step.family.startswith("embedding"):
            return Cost(bytes=size * rows // self._artifact.manifest.model.vocabulary)
        return Cost(bytes=size)

    def _products(self, step: Step, rows: int) -> int:
        """Operations of the matrices of a linear."""
        if not step.family.startswith("linear"):
            return 0
        tensors = self._artifact.manifest.tensors
        names = {name if name in tensors else name.rpartition(".")[0] for name in step.arguments}
        shapes = [tensors[name].shape for name in names if name in tensors]
        return sum(2 * rows * prod(shape) for shape in shapes if len(shape) == 2)

    def _pool(self, step: Step, value: Value, live: Live) -> Cost:
        row = prod(_fixed(value)) * value.dtype.itemsize
        group = self._groups.get(pool_symbol(value))
        if group is None and step.family == "compress_new_keys":  # a key of each of the last tokens
            kept = _fixed(value)[-2]
            return Cost(live.sequences * min(live.tokens, kept) * row // kept)
        if group is None:
            elements = row // value.dtype.itemsize
            new = live.sequences * live.tokens
            return Cost(2 * row * live.sequences, 4 * elements * new)
        tokens = group.tokens
        reads = {"attend_blocks": self._attended, "select_blocks": self._scored}.get(step.family)
        if reads is None:  # what the new tokens write, or are pooled from
            return Cost(bytes=live.sequences * live.tokens * row // tokens)
        touched, read = reads(step, live)
        heads_of_a_key = self._size(step, "num_heads") // self._size(step, "kv_heads")
        operations = 2 * heads_of_a_key * (row // value.dtype.itemsize) * read // tokens
        return Cost(live.sequences * row * touched // tokens, live.sequences * operations)

    def _attended(self, step: Step, live: Live) -> tuple[int, int]:
        """Tokens of a sequence's past that a step touches, and the sum of what its tokens read."""
        length = live.history + live.tokens
        each = length - (live.tokens - 1) // 2
        budget = self._budget(step, live)
        if budget is not None:
            each = min(each, budget)
            length = min(length, budget * live.tokens)
        return length, each * live.tokens

    def _scored(self, step: Step, live: Live) -> tuple[int, int]:
        """The same as `_attended` for compressed keys: 0 while the call is dense."""
        if not self._selects(live):
            return 0, 0
        length = live.history + live.tokens
        return length, (length - (live.tokens - 1) // 2) * live.tokens

    def _size(self, step: Step, name: str) -> int:
        """A size that the kernel of a step was compiled for."""
        value = self._specs[step.kernel][name]
        assert isinstance(value, int), f"{name} is a size"
        return value

    def _selects(self, live: Live) -> bool:
        """Whether blocks are chosen in such a call."""
        return "sparse" in self._rule.path(live.call_length).split()

    def _budget(self, step: Step, live: Live) -> int | None:
        """Tokens that the block lists of a sparse call name at most; None if all are read."""
        if not self._selects(live):
            return None
        values = (self._artifact.program.values[name] for name in step.arguments)
        for value in values:
            is_list = value.kind is ValueKind.ACTIVATION and value.dtype is ElementType.INT32
            if is_list and len(value.shape) == 3:
                return _fixed(value)[-1] * self._size(step, "block_size")
        return None


def _fixed(value: Value) -> list[int]:
    """The extents that do not depend on what is loaded."""
    return [dim for dim in value.shape if not isinstance(dim, Polynomial)]


def _row_bytes(value: Value) -> int:
    return prod(_fixed(value)) * value.dtype.itemsize
