"""Jobs on their way to another process of the same server, and what comes back.

What takes a process to make, a compiled grammar and the tokens of the model, travels as what it is
made of. The bytes are read only between deployments of one application, which Ray trusts anyway.
"""

import io
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sala_compile.runtime.generation.sampling_options import SamplingOptions
from sala_compile.runtime.serving.structure.grammar_constraint import GrammarConstraint
from sala_compile.runtime.serving.structure.grammar_tokenizer import GrammarTokenizer
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.serving.structure.structures import CompiledStructure, Structures
from sala_compile.runtime.serving.work.constraint import Constraint
from sala_compile.runtime.serving.work.event import Event
from sala_compile.runtime.serving.work.job import Job, Reuse

_TOKENS, _STRUCTURE, _CONSTRAINT = "tokens", "structure", "constraint"


@dataclass(frozen=True, slots=True)
class JobParcel:
    """All of a job but its holder; `seconds` are those to its deadline."""

    prompt: np.ndarray
    max_new_tokens: int
    sampling: SamplingOptions
    ends: frozenset[int]
    min_tokens: int
    logprobs: int | None
    prompt_logprobs: bool
    constraint: Constraint | None
    allowed: np.ndarray | None
    reuse: Reuse
    salt: bytes
    client: str
    priority: int
    seconds: float | None
    observe: bool

    @staticmethod
    def of(job: Job) -> "JobParcel":
        """That of a job whose constraint is at its beginning."""
        left = None if job.deadline is None else job.deadline - time.monotonic()
        return JobParcel(
            **{name: getattr(job, name) for name in JobParcel.__slots__ if name != "seconds"},
            seconds=left,
        )

    def job(self, sink: Callable[[Sequence[Event]], None]) -> Job:
        """The job for the scheduler of this process."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "seconds"}
        deadline = None if self.seconds is None else time.monotonic() + self.seconds
        return Job(**fields, sink=sink, deadline=deadline)


def packed_job(job: Job) -> bytes:
    """A job as bytes."""
    file = io.BytesIO()
    _Packer(file, pickle.HIGHEST_PROTOCOL).dump(JobParcel.of(job))
    return file.getvalue()


def unpacked_job(data: bytes, structures: Structures) -> JobParcel:
    """The job of some bytes; `structures` are those of the same model in this process."""
    parcel = _Unpacker(io.BytesIO(data), structures).load()
    assert isinstance(parcel, JobParcel), "bytes of something else"
    return parcel


class _Packer(pickle.Pickler):
    def persistent_id(self, obj: Any) -> tuple[str, Structure | None] | None:
        match obj:
            case GrammarConstraint():
                return _CONSTRAINT, obj.structure
            case CompiledStructure():
                return _STRUCTURE, obj.structure
            case GrammarTokenizer():
                return _TOKENS, None
            case _:
                return None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, structures: Structures) -> None:
        super().__init__(file)
        self._structures = structures

    def persistent_load(self, pid: tuple[str, Structure]) -> Any:
        kind, structure = pid
        if kind == _TOKENS:
            return self._structures.tokens
        compiled = self._structures.compile(structure)
        return compiled if kind == _STRUCTURE else compiled.constraint()
