"""A golden vector as a call of its kernel: what it hands over is what the program hands over."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sala_compile.runtime.artifact import (
    Artifact,
    InputName,
    KernelVector,
    MappedTensors,
    Paging,
    Polynomial,
    Step,
    Symbol,
    ThreadsArgument,
    Value,
    ValueKind,
    columns_of,
    evaluate,
)
from sala_compile.runtime.golden.golden_batch import GoldenBatch
from sala_compile.runtime.golden.golden_values import MADE_BYTES, GoldenValues, malformed


@dataclass(frozen=True, slots=True)
class GoldenCall:
    """The buffers of a kernel call, in the kernel's order."""

    vector: KernelVector
    values: GoldenValues
    buffers: list[np.ndarray]


def golden_call(
    artifact: Artifact, vector: KernelVector, stored: MappedTensors, threads: int
) -> GoldenCall:
    """Make the buffers of a vector.

    ArtifactError where they are not those that the program calls the kernel with: their number,
    element types, shapes for the sizes that the vector tells, and every number that says where in
    memory something stands.
    """
    values = GoldenValues(artifact, stored, threads)
    step = _step(artifact, vector)
    where = f"golden.json: {vector.name}"
    if len(step.arguments) != len(vector.arguments):
        raise malformed(
            f"the vector has {len(vector.arguments)} arguments",
            f"{len(step.arguments)}, those of {vector.kernel}",
            where,
        )
    known = [artifact.program.values[name] for name in step.arguments]
    for argument, value, name in zip(vector.arguments, known, step.arguments, strict=True):
        if isinstance(argument, ThreadsArgument) is not (name == InputName.CONTROL.value):
            raise malformed(f"{name} comes from {argument.source!r}", "control alone does", where)
        _check_form(values.shape(argument), values.dtype(argument), value, f"{where}: {name}")
    made = sum(values.made_bytes(argument) for argument in vector.arguments)
    if made > MADE_BYTES:
        raise malformed(f"the vector takes {made} bytes", f"at most {MADE_BYTES}", where)
    buffers = [values.buffer(argument) for argument in vector.arguments]
    fields = {
        name: buffer
        for name, value, buffer in zip(step.arguments, known, buffers, strict=True)
        if value.kind is ValueKind.INPUT
    }
    program, vocabulary = artifact.program, artifact.manifest.model.vocabulary
    batch = GoldenBatch(fields, program.paging, vocabulary, vector.name)
    symbols = _symbols(known, buffers, batch, threads, program.paging)
    for name, value, buffer in zip(step.arguments, known, buffers, strict=True):
        needed = tuple(evaluate(dim, symbols) for dim in value.shape)
        if any(have < least for have, least in zip(buffer.shape, needed, strict=True)):
            raise malformed(
                f"{name} of the vector is {list(buffer.shape)}", f"{list(needed)} or more", where
            )
    batch.check(symbols)
    return GoldenCall(vector, values, buffers)


def _step(artifact: Artifact, vector: KernelVector) -> Step:
    """A step of the program that calls the kernel; the library knows no arguments by itself."""
    target = artifact.program.targets.get(vector.target)
    phases = () if target is None else target.phases.values()
    for phase in phases:
        for step in phase.steps:
            if step.kernel == vector.kernel:
                return step
    raise malformed(
        f"no step of the program calls {vector.kernel} on {vector.target}",
        "a kernel of the program",
        f"golden.json: {vector.name}",
    )


def _check_form(shape: tuple[int, ...], dtype: np.dtype, value: Value, where: str) -> None:
    """Element type, rank and every extent that is no size of a batch."""
    fits = len(shape) == len(value.shape) and all(
        isinstance(dim, Polynomial) or dim == extent
        for dim, extent in zip(value.shape, shape, strict=False)
    )
    same = dtype == value.dtype.numpy or (
        value.kind is ValueKind.WEIGHT and dtype.itemsize == value.dtype.itemsize
    )
    if not fits or not same:
        wanted = ", ".join(str(dim) if isinstance(dim, int) else "?" for dim in value.shape)
        raise malformed(f"the argument is {dtype}{list(shape)}", f"{value.dtype}[{wanted}]", where)


def _symbols(
    known: Sequence[Value],
    buffers: Sequence[np.ndarray],
    batch: GoldenBatch,
    threads: int,
    paging: Paging,
) -> dict[str, int]:
    """The sizes of the call: what lives, and the capacities that the buffers give."""
    symbols: dict[str, int] = dict.fromkeys(Symbol, 0)
    for symbol in (Symbol.SLOTS, *paging.symbols):
        extents = [
            buffer.shape[axis]
            for value, buffer in zip(known, buffers, strict=True)
            for axis, dim in enumerate(value.shape)
            if isinstance(dim, Polynomial) and dim.terms == ((1, (symbol,)),)
        ]
        symbols[symbol] = min(extents, default=0)
    smallest = (name for name, g in paging.groups.items() if g.tokens == paging.page_tokens)
    columns = max((symbols[columns_of(name)] for name in smallest), default=0)
    pages = columns or -(-batch.longest // paging.page_tokens)
    return symbols | {
        Symbol.TOKENS: batch.tokens,
        Symbol.SEQUENCES: batch.sequences,
        Symbol.LOGIT_ROWS: batch.logit_rows,
        Symbol.WORKERS: threads,
        Symbol.SEQUENCE_PAGES: pages,
    }
