"""The buffers that golden vectors hand to kernels, made from what golden.json says of them."""

from math import prod

import numpy as np

from sala_compile.runtime.artifact import (
    Artifact,
    LiteralArgument,
    MappedTensors,
    OutputArgument,
    RandomArgument,
    ScratchArgument,
    SeededTensors,
    StoredArgument,
    ThreadsArgument,
    WeightArgument,
    align,
    narrow_bfloat16,
    seeded_values,
    widen_bfloat16,
)
from sala_compile.runtime.artifact.base import ALIGNMENT
from sala_compile.runtime.artifact.golden import Argument
from sala_compile.runtime.artifact.stored_weights import open_tensors
from sala_compile.runtime.common.json_text import shortened
from sala_compile.runtime.devices.device import POISON
from sala_compile.runtime.errors import ArtifactError

MADE_BYTES = 128 << 20
"""What the buffers of one vector may take that are in no file: more is a mistake or an attack."""


class GoldenValues:
    """Makes buffers: aligned arrays, bfloat16 as uint16; weights are mapped."""

    def __init__(self, artifact: Artifact, stored: MappedTensors, threads: int) -> None:
        """For the golden tensors `stored`, on so many threads."""
        self._artifact = artifact
        self._stored = stored
        self._threads = threads
        self._weights: dict[str, MappedTensors | SeededTensors] = {}

    def shape(self, argument: Argument) -> tuple[int, ...]:
        """The shape of the buffer; ArtifactError where the argument contradicts itself."""
        match argument:
            case WeightArgument() | StoredArgument():
                return self._mapped(argument).shape
            case ThreadsArgument():
                return (len(argument.values),)
            case ScratchArgument():
                return self._threads, argument.columns
            case LiteralArgument() if len(argument.values) not in (1, prod(argument.shape)):
                raise malformed(
                    f"a literal of the shape {list(argument.shape)} has {len(argument.values)} "
                    "values"
                )
            case OutputArgument() if argument.initial is not None:
                initial = self.shape(argument.initial)
                if initial != argument.shape:
                    raise malformed(
                        f"an output of the shape {list(argument.shape)} begins as {list(initial)}"
                    )
        return argument.shape

    def dtype(self, argument: Argument) -> np.dtype:
        """The element type of the buffer."""
        match argument:
            case WeightArgument() | StoredArgument():
                return self._mapped(argument).dtype
            case ThreadsArgument():
                return np.dtype(np.int32)
            case OutputArgument() if argument.initial is not None:
                return self.dtype(argument.initial)
        return np.dtype(np.uint16 if argument.dtype == "bfloat16" else argument.dtype)

    def made_bytes(self, argument: Argument) -> int:
        """Bytes of the buffer, where they are made and not stored."""
        match argument:
            case WeightArgument() | StoredArgument():
                return 0
            case OutputArgument() if argument.initial is not None:
                return self.made_bytes(argument.initial)
        return prod(self.shape(argument)) * self.dtype(argument).itemsize

    def buffer(self, argument: Argument) -> np.ndarray:
        """An aligned array with the argument's initial values."""
        match argument:
            case WeightArgument():
                return self._mapped(argument)
            case StoredArgument():
                return _aligned(self._mapped(argument))
            case RandomArgument():
                values = seeded_values(argument)
                return _aligned(narrow_bfloat16(values) if argument.dtype == "bfloat16" else values)
            case LiteralArgument():
                return _aligned(literal_values(argument))
            case ThreadsArgument():
                control = np.array(argument.values, np.int32)
                control[3] = self._threads
                return _aligned(control)
            case OutputArgument() if argument.initial is not None:
                return self.buffer(argument.initial)
        return _poisoned(self.shape(argument), self.dtype(argument))

    def logical(self, name: str) -> np.ndarray:
        """A golden tensor by its meaning: bfloat16 as float32."""
        array = self._stored.array(name)
        return widen_bfloat16(array) if self._stored.stored[name].spec.dtype == "BF16" else array

    def unwritten(self, argument: OutputArgument) -> np.ndarray | None:
        """Where an output holds no number before the call, if it is given from a file."""
        initial = argument.initial
        if not isinstance(initial, StoredArgument) or argument.dtype not in ("float32", "bfloat16"):
            return None
        return np.isnan(self.logical(initial.tensor))

    def _mapped(self, argument: WeightArgument | StoredArgument) -> np.ndarray:
        if isinstance(argument, StoredArgument):
            return self._stored.array(argument.tensor)
        artifact, name = self._artifact, argument.tensor
        if name not in artifact.weights or name not in artifact.program.values:
            raise malformed(f"there is no weight {name!r}", "a weight of the program")
        file, _ = artifact.weights[name]
        if file not in self._weights:
            self._weights[file] = open_tensors(artifact, file)
        stored = self._weights[file].array(name)
        return stored.view(artifact.program.values[name].dtype.numpy)


def literal_values(argument: LiteralArgument) -> np.ndarray:
    """The elements of a literal; bfloat16 as uint16. ArtifactError where its type has no such."""
    narrow = argument.dtype == "bfloat16"
    try:
        values = np.array(argument.values, np.float32 if narrow else argument.dtype)
    except (ValueError, OverflowError) as error:
        raise malformed(f"a literal of {argument.dtype} cannot hold its values: {error}") from None
    if len(values) == 1:
        values = np.broadcast_to(values, argument.shape)
    values = values.reshape(argument.shape)
    return narrow_bfloat16(values) if narrow else values


def malformed(found: str, expected: str | None = None, where: str = "golden.json") -> ArtifactError:
    """The error for golden vectors that cannot be run."""
    return ArtifactError(
        shortened(found),
        where=shortened(where),
        expected=expected,
        fix="copy the whole artifact again, or compile again",
    )


def _poisoned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    made = _empty(shape, dtype)
    made.reshape(-1).view(np.uint8).fill(POISON)
    return made


def _aligned(values: np.ndarray) -> np.ndarray:
    made = _empty(values.shape, values.dtype)
    made[...] = values
    return made


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = prod(shape) * dtype.itemsize
    memory = np.empty(align(size) + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
