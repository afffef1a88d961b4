"""The loaded model as a machine for sequences: how they begin, branch, return and end."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sala_compile.runtime.artifact import Artifact, Symbol
from sala_compile.runtime.devices.device import BoundProgram, Device, Memory
from sala_compile.runtime.devices.interrupts import Interrupts
from sala_compile.runtime.devices.observe import Observer
from sala_compile.runtime.engine.calls import Calls
from sala_compile.runtime.engine.device_sampling import DeviceSampling
from sala_compile.runtime.engine.exclusive import Exclusive
from sala_compile.runtime.engine.history import History
from sala_compile.runtime.engine.recovery import Recovery
from sala_compile.runtime.engine.requests import Limits, no_snapshot
from sala_compile.runtime.engine.stepper import Stepper
from sala_compile.runtime.sequence import Sequence
from sala_compile.runtime.state.prefix_cache import PrefixCache, PrefixOptions
from sala_compile.runtime.state.saving import StateFiles, model_digest
from sala_compile.runtime.state.store import StateStore

Wrap = Callable[[BoundProgram], BoundProgram]
"""Makes the program that stands in for another, for measurements."""


class Engine:
    """Sequences over the memory of one model; `calls` and `sampling` extend them."""

    def __init__(
        self,
        artifact: Artifact,
        memory: Memory,
        device: Device,
        prefix: PrefixOptions | None = None,
    ) -> None:
        """Bind every kernel to its buffers; `prefix` asks for a prefix cache."""
        self._memory = memory
        self._artifact = artifact
        self._target = artifact.program.targets[device.target]
        self._exclusive = Exclusive()
        self._interrupts = Interrupts()
        self.store = StateStore(memory, artifact.program)
        self.steps = Stepper(artifact, memory, device, self.store, self._interrupts)
        sizes = memory.plan.sizes
        self.limits = Limits(
            vocabulary=artifact.manifest.model.vocabulary,
            context=sizes.context,
            chunk=sizes.chunk,
            logit_rows=memory.plan.symbols[Symbol.LOGIT_ROWS],
        )
        self._files = StateFiles(
            artifact.manifest, artifact.program, device.target, memory, self.store
        )
        self.prefix: PrefixCache | None = None
        if prefix is not None:
            digest, paths = model_digest(artifact.manifest), self.steps.rule.names
            self.prefix = PrefixCache(self.store, digest, paths, prefix)
        self._history = History(self.store, self.prefix)
        self.calls = Calls(
            self.limits,
            self.steps,
            self.store,
            Recovery(self.store, self._history, self._exclusive),
            self.prefix,
            self._exclusive,
            self._interrupts,
        )
        self.sampling = DeviceSampling(
            self.calls,
            self.steps,
            self.store,
            self._exclusive,
            self._interrupts,
            waits=self.prefix is not None,  # a prefix cache wants to see every token
        )

    def new_sequence(self) -> Sequence:
        """An empty sequence; MemoryBudgetError while as many are alive as were planned."""
        with self._interrupts.held(), self._exclusive.entered():
            return Sequence(self, self.store.open())

    def release(self, sequence: Sequence) -> None:
        """Take back all that a sequence holds; called by its `close`."""
        with self._interrupts.held(), self._exclusive.awaited():
            if not self._exclusive.closed:
                self._history.drop_marks(sequence, -1)
                self.store.close(sequence.state)

    def close(self) -> bool:
        """Refuse whatever is asked from now on; False where that was so already."""
        with self._exclusive.closing() as first:
            if first:
                self.steps.close()
        return first

    def visited(self) -> AbstractContextManager[None]:
        """Look at what is held, while nothing runs; RequestError where the model is closed."""
        return self._exclusive.visited()

    def fork(self, sequence: Sequence) -> Sequence:
        """A sequence that shares what does not change."""
        with self._interrupts.held(), self._exclusive.entered():
            sequence.require_usable()
            copy = Sequence(self, self.store.fork(sequence.state))
            self._history.share_marks(sequence, copy)
            return copy

    def save(self, sequence: Sequence, path: Path) -> None:
        """Write the state of a sequence to a file."""
        with self._exclusive.entered():
            sequence.require_usable()
            self._files.save(sequence.state, path)

    def check_save(self, sequence: Sequence, path: Path, more: int) -> None:
        """Refuse a state file that could not be written once `more` tokens are there."""
        self._files.check_output(path, len(sequence) + more)

    def restore(self, path: Path) -> Sequence:
        """A new sequence with the state in a file."""
        with self._exclusive.entered():
            return Sequence(self, self._files.restore(path, self.limits.context))

    def mark(self, sequence: Sequence) -> int:
        """Take a snapshot that belongs to the sequence; its length."""
        with self._interrupts.held(), self._exclusive.entered():
            sequence.require_usable()
            length = len(sequence)
            if length and all(mark.length != length for mark in sequence.marks):
                self._history.mark(sequence)
            return length

    def unmark(self, sequence: Sequence, length: int) -> None:
        """Let go of a snapshot that belongs to the sequence."""
        with self._interrupts.held(), self._exclusive.entered():
            for mark in [mark for mark in sequence.marks if mark.length == length]:
                self._history.unmark(sequence, mark)

    def points(self, sequence: Sequence) -> list[int]:
        """The lengths with a snapshot."""
        with self._exclusive.visited():
            return self._points(sequence)

    def truncate(self, sequence: Sequence, length: int) -> None:
        """Return to a snapshot, or to the present length."""
        with self._interrupts.held(), self._exclusive.entered():
            if sequence.closed or sequence.busy:
                sequence.require_usable()
            if length == len(sequence) and not sequence.state.broken:
                return
            points = self._points(sequence)
            if length not in points:
                raise no_snapshot(length, len(sequence), points)
            self._history.go_back(sequence, length)

    def _points(self, sequence: Sequence) -> list[int]:
        return sorted(self._history.points(sequence))

    @contextmanager
    def wrapped(self, wrap: Wrap) -> Iterator[None]:
        """Run inside what `wrap` makes of the program."""
        program = self.steps.program
        self.steps.program = wrap(program)
        try:
            yield
        finally:
            self.steps.program = program

    def observer(self, kinds: Items[str]) -> Observer:
        """An observer for calls of `all_logits`."""
        return Observer(self._artifact.program, self._target, kinds, self._memory)
