"""Runs steps: a ragged batch of new tokens through the program."""

from collections.abc import Sequence as Items

import numpy as np

from runtime.artifact import Artifact, PhaseName
from runtime.batch import BatchInputs, Work
from runtime.device import Device, Memory
from runtime.interrupts import Interrupts
from runtime.observe import Observer
from runtime.regimes import RegimeRule
from runtime.sampling import Draw
from runtime.store import StateStore

SAMPLED = "sampled"
"""The value that the sample phase writes: a token for each row of logits, -1 for none."""


class Stepper:
    """The kernels bound to their buffers; advances the states of a store."""

    def __init__(
        self,
        artifact: Artifact,
        memory: Memory,
        device: Device,
        store: StateStore,
        interrupts: Interrupts,
    ) -> None:
        """Bind every kernel of the device's target; `interrupts` may come while they run."""
        self._interrupts = interrupts
        self._memory = memory
        self._store = store
        self._inputs = BatchInputs(memory, device.workers)
        self.program = device.bind(memory)
        self.rule = RegimeRule.of(artifact.manifest)
        self._vocabulary = artifact.manifest.model.vocabulary
        self._logits = artifact.program.logits

    @property
    def samples(self) -> bool:
        """Whether the device can choose tokens."""
        return PhaseName.SAMPLE in self.program.phases

    def run(
        self, batch: Items[Work], observer: Observer | None = None, draws: Items[Draw] = ()
    ) -> None:
        """Run the batch up to the final hidden states, and advance its sequences."""
        self._inputs.check(batch)
        for work in batch:
            self._store.reserve(work.state, work.state.length + len(work.token_ids))
        self._inputs.write(batch, draws)
        sizes = self._inputs.sizes
        phase = PhaseName.DECODE if sizes.tokens == len(batch) else PhaseName.PREFILL
        if self._memory.poison:
            self._memory.poison_arena()
        for work in batch:
            work.state.broken = True
        hooks = None if observer is None else observer.hooks(phase, sizes.tokens)
        with self._interrupts.allowed():
            self.program.run(phase, sizes, hooks)
        for work in batch:
            self._store.grow(work.state, work.token_ids, self.rule.regime(work.call_length))
            work.state.broken = False

    def find_logits(self, rows: np.ndarray | None = None) -> None:
        """Compute the logits of the last step's token `rows`, of each last token unless told."""
        if rows is not None:
            self._inputs.ask(rows)
        self.program.run(PhaseName.LOGITS, self._inputs.sizes)

    def logits(self) -> np.ndarray:
        """A copy of the newest logits [rows, vocabulary]."""
        found = np.empty((self._inputs.sizes.logit_rows, self._vocabulary), np.float32)
        self._memory.read(self._logits, found)
        return found

    def sampled(self) -> np.ndarray:
        """Tokens chosen from the newest logits by the draws of the step; -1 for not a number."""
        sizes = self._inputs.sizes
        self.program.run(PhaseName.SAMPLE, sizes)
        found = np.empty(sizes.logit_rows, np.int32)
        self._memory.read(SAMPLED, found)
        return found

    def close(self) -> None:
        """Let go of the kernels and buffers; nothing runs afterwards."""
        self.program.close()
        del self._memory, self._inputs
