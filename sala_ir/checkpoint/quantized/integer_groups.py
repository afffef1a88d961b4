"""What the published formats have in common: integers in groups, brought to our two group sizes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.rounding_errors import ErrorSums
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr, EncodingKind, ZeroKind

WIDE, NARROW = 128, 32
"""Group sizes that kernels read; larger groups are several equal ones of these."""
MIDDLE = 8
"""The unsigned integer of 4 bits that means zero in a symmetric format."""
KEPT = 4
"""Tensors whose words stay in memory: rows of gate and up are read in turn."""

FLOATS = ("F16", "BF16", "F32")
"""Element types of scales."""
INTEGERS = ("I32", "I64")
"""Element types of shapes and orders."""

Part = Callable[[], np.ndarray]
"""Reads one part of a tensor, [weight rows, columns or groups]."""


class IntegerTensor(Protocol):
    """One weight [N, K] of integers in groups, as some format has it."""

    @property
    def encoding(self) -> EncodingAttr:
        """How the integers are stored here."""
        ...

    @property
    def members(self) -> tuple[str, ...]:
        """The tensors of the checkpoint that it consists of."""
        ...

    def whole(self) -> Integers:
        """All rows, in the groups of the encoding."""
        ...

    def check(self) -> None:
        """Raise CheckpointError for what cannot be read to the bit."""
        ...


@dataclass(frozen=True, slots=True)
class PublishedTensor:
    """One weight [N, K] with integers of 4 bits.

    `codes` [N, K] uint8, `scales` [N, groups], `zeros` [N, groups] uint8 (None: all are 8).
    `members` are the tensors of the checkpoint that it consists of.
    """

    module: str
    shape: tuple[int, int]
    group: int
    members: tuple[str, ...]
    codes: Part
    scales: Part
    zeros: Part | None

    @property
    def encoding(self) -> EncodingAttr:
        """The encoding in our groups: wide ones where the published ones consist of them.

        A scale for a whole row of another size takes wide groups too, the last one padded.
        """
        wide = self.group % WIDE == 0 or self.group % NARROW > 0
        kind = ZeroKind.MIDDLE if self.zeros is None else ZeroKind.STORED
        return EncodingAttr(EncodingKind.INT4, WIDE if wide else NARROW, kind)

    def whole(self) -> Integers:
        """All rows, in our groups; columns beyond K have the value 0."""
        (rows, columns), group = self.shape, self.encoding.group.data
        groups = -(-columns // group)
        first = np.arange(groups) * group // self.group
        zeros = np.full((rows, groups), MIDDLE, np.uint8)
        if self.zeros is not None:
            zeros = self.zeros()[:, first]
        codes = np.repeat(zeros, group, axis=1)
        codes[:, :columns] = self.codes()
        return Integers.of_groups(codes, self.scales().astype(np.float16)[:, first], zeros)

    def check(self) -> None:
        """Refuse groups that are no multiple of ours, and scales that float16 does not hold."""
        if self.group % NARROW and self.group != self.shape[1]:
            raise self.error(
                f"a scale stands for {self.group} values", f"a multiple of {NARROW}, or whole rows"
            )
        scales = self.scales().astype(np.float32)
        with np.errstate(over="ignore"):
            narrow = scales.astype(np.float16).astype(np.float32)
        wrong = (narrow != scales) | ~np.isfinite(narrow)
        if wrong.any():
            row, group = (int(axis[0]) for axis in np.nonzero(wrong))
            raise self.error(
                f"the scale of row {row}, group {group} is {scales[row, group]:.9g}",
                "scales that float16 represents",
            )
        if self.zeros is not None:
            self.zeros()  # refuses those that the format does not define

    def error(self, found: str, expected: str) -> CheckpointError:
        """An error that names this tensor."""
        return CheckpointError(found, where=self.module, expected=expected)


@dataclass(frozen=True, slots=True)
class QuantizedTensors:
    """The result of a format: its name, the weights, and fields that it does not know."""

    scheme: str
    tensors: Mapping[str, PublishedTensor]
    unknown: tuple[str, ...] = ()


class PublishedIntegers:
    """The weights by name that a checkpoint stores as integers; `scheme` names the format.

    `notes` are sentences on its configuration that a user should read. `rounded` says what of it
    is rounded once more, whose `errors` are there when it was read.
    """

    def __init__(
        self, scheme: str, tensors: Mapping[str, IntegerTensor], notes: tuple[str, ...] = ()
    ) -> None:
        self.scheme, self.notes = scheme, notes
        self.rounded, self.errors = "", ErrorSums()
        self._tensors = tensors
        self._whole = lru_cache(maxsize=KEPT)(self._read_whole)

    def _read_whole(self, name: str) -> Integers:
        return self._tensors[name].whole()

    @property
    def encodings(self) -> dict[str, EncodingAttr]:
        """How each of the weights is stored."""
        return {name: tensor.encoding for name, tensor in self._tensors.items()}

    @property
    def members(self) -> frozenset[str]:
        """The tensors of the checkpoint that the weights consist of."""
        return frozenset(name for tensor in self._tensors.values() for name in tensor.members)

    def check(self) -> None:
        """Raise CheckpointError for a tensor that cannot be read to the bit."""
        for tensor in self._tensors.values():
            tensor.check()

    def read(self, name: str, start: int, stop: int) -> Integers:
        """Rows [start, stop) of a weight."""
        return self._whole(name).slice(start, stop)

    def __contains__(self, name: str) -> bool:
        """Whether a weight is stored as integers."""
        return name in self._tensors


def read_member(
    checkpoint: Checkpoint, name: str, shape: tuple[int, ...], elements: tuple[str, ...]
) -> Part:
    """A reader of one stored tensor, whose shape and element type are checked here."""
    stored = checkpoint.tensors.get(name)
    if stored is None:
        raise CheckpointError(
            "the tensor is missing",
            where=f"{checkpoint.directory}: {name}",
            expected="every part of a quantised weight",
        )
    if stored.shape != shape or stored.element not in elements:
        raise stored.error(
            f"the tensor is {stored.element} {list(stored.shape)}",
            expected=f"{' or '.join(elements)} {list(shape)}",
        )
    return lambda: checkpoint.read(name)


def nibbles(words: np.ndarray, order: tuple[int, ...] = tuple(range(8))) -> np.ndarray:
    """Integers of 4 bits [.., 8 n] in words of 32 bits [.., n]; `order[i]` is the place of the
    one in bits 4 i to 4 i + 3.
    """
    unsigned = np.ascontiguousarray(words).view(np.uint32)
    found = np.empty((*words.shape, 8), np.uint8)
    for index, place in enumerate(order):
        found[..., place] = unsigned >> np.uint32(4 * index) & np.uint32(15)
    return found.reshape(*words.shape[:-1], -1)


def modules_with(
    checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]], part: str
) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Name, module and shape of every matrix of the model that has a tensor `part`."""
    for name, shape in expected.items():
        module = name.removesuffix(".weight")
        if len(shape) == 2 and f"{module}.{part}" in checkpoint.tensors:
            yield name, module, (shape[0], shape[1])


def neighbours(
    checkpoint: Checkpoint, name: str, columns: int, group: int, *, reordered: bool
) -> bool:
    """Whether there is a tensor `name` with the group of every column; it must count up.

    Without it, `reordered` columns are not known.
    """
    exists = name in checkpoint.tensors
    if exists:
        found = read_member(checkpoint, name, (columns,), INTEGERS)()
        in_order = np.array_equal(found, np.arange(columns) // group)
    else:
        in_order = not reordered or group >= columns
    if not in_order:
        raise CheckpointError(
            "the inputs of the weight are grouped in the order of their activations",
            where=f"{checkpoint.directory}: {name}",
            expected="groups of neighbours: no kernel gathers single inputs",
            fix="quantise with desc_act false (actorder null), or with static groups",
        )
    return exists


def same_fields(config: Mapping[str, Any], place: str, *names: str) -> Any:
    """The value of a field under any of its names; refused where it is missing or ambiguous."""
    found = {name: config[name] for name in names if config.get(name) is not None}
    if not found:
        raise CheckpointError(
            f"{names[0]} is missing",
            where=place,
            expected="a value",
            fix="add what the checkpoint was quantised with: it is not guessed",
        )
    values = [value.lower() if isinstance(value, str) else value for value in found.values()]
    if any(value != values[0] for value in values):
        listed = ", ".join(f"{name} {quoted(value)}" for name, value in found.items())
        raise CheckpointError(
            f"two fields disagree: {listed}", where=place, expected="the same in both"
        )
    return next(iter(found.values()))
