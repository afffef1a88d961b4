"""The weights to pack: those of a checkpoint, or integers that they were rounded to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

import numpy as np

from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource
from sala_compile.codegen.progress import Progress
from sala_compile.codegen.quantization.calibration import Calibration, calibration_for
from sala_compile.codegen.quantization.integer_files import IntegerStore
from sala_compile.codegen.quantization.stream import Quantizer
from sala_compile.runtime.artifact.staging import staged_directory
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.rounding_errors import ErrorSums
from sala_compile.sala_ir.interpreter import RowSource


class IntegerTensors(Protocol):
    """Tensors of integers by name."""

    def read(self, name: str, start: int, stop: int) -> Integers:
        """Rows [start, stop)."""
        ...

    def __contains__(self, name: str) -> bool:
        """Whether there is such a tensor."""
        ...


@dataclass(frozen=True, slots=True)
class StoredIntegers:
    """Rows of a checkpoint, some of whose tensors [.., columns] are integers from elsewhere."""

    plain: RowSource
    store: IntegerTensors
    columns: dict[str, int]

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of a tensor; the values of its integers if it has any."""
        if name in self.store:
            return self.integers(name, start, stop).values(self.columns[name])
        return self.plain.rows(name, start, stop)

    def integers(self, name: str, start: int, stop: int) -> Integers:
        """Rows [start, stop) of a tensor of integers."""
        return self.store.read(name, start, stop)


@dataclass(frozen=True, slots=True)
class Weights:
    """What is packed: a source of rows and integers, and how far it is from the checkpoint.

    `errors` also takes what is rounded while it is packed.
    """

    source: RowSource
    errors: ErrorSums = field(default_factory=ErrorSums)
    calibration: Calibration | None = None


@contextmanager
def open_weights(
    source: ModelSource, options: CompileOptions, progress: Progress
) -> Iterator[Weights]:
    """The weights to pack; a calibrated model is rounded here, into files next to the output."""
    checkpoint = source.checkpoint
    assert checkpoint is not None, "weights are those of a checkpoint"
    columns = {name: source.tensors[name][1] for name in source.integers}
    if source.published is not None:
        stored = StoredIntegers(checkpoint, source.published, columns)
        yield Weights(stored, source.published.errors)
        return
    if not options.calibrates:
        yield Weights(checkpoint)
        return
    assert options.output is not None, "checked with the options"
    place, vocabulary = checkpoint.directory, source.facts.vocabulary
    calibration = calibration_for(
        place, vocabulary, options.calibration, options.calibration_tokens
    )
    with staged_directory(options.output.absolute()) as folder:
        store = IntegerStore(folder)
        quantizer = Quantizer(
            source.captured, checkpoint, source.integers, store, options.activation_order
        )
        total = sum(prod(source.tensors[name]) for name in source.integers)
        with progress.stage("rounding weights", total, unit="values") as advance:
            quantizer.run(calibration.token_ids, advance)
        yield Weights(StoredIntegers(checkpoint, store, columns), quantizer.errors, calibration)
