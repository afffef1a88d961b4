"""Runs steps: a ragged batch of new tokens through the prepared program."""

from collections.abc import Mapping
from collections.abc import Sequence as Items

import numpy as np

from runtime.artifact import Artifact, PhaseName
from runtime.batch import BatchInputs, Work
from runtime.device import CpuDevice
from runtime.interrupts import Interrupts
from runtime.memory import Memory
from runtime.observe import Observer
from runtime.program import PreparedPhase, PreparedProgram
from runtime.regimes import RegimeRule
from runtime.store import StateStore


class Stepper:
    """The kernels bound to their buffers; advances the states of a store."""

    def __init__(
        self,
        artifact: Artifact,
        memory: Memory,
        device: CpuDevice,
        target: str,
        store: StateStore,
        interrupts: Interrupts,
    ) -> None:
        """Bind every kernel of the target; `interrupts` may come while they run."""
        self._interrupts = interrupts
        self._memory = memory
        self._device = device
        self._store = store
        self._inputs = BatchInputs(memory.arrays, memory.plan.symbols, device.threads)
        program = PreparedProgram(artifact.program, target, device, memory.tensors)
        self.phases: Mapping[PhaseName, PreparedPhase] = program.phases
        self.rule = RegimeRule.of(artifact.manifest)
        vocabulary = artifact.manifest.model.vocabulary
        self._logits = memory.arrays[artifact.program.logits][:, :vocabulary]

    def run(self, batch: Items[Work], observer: Observer | None = None) -> None:
        """Run the batch up to the final hidden states, and advance its sequences."""
        tokens = self._inputs.write(batch)
        for work in batch:
            self._store.reserve(work.state, work.state.length + len(work.token_ids))
        single = tokens == len(batch)
        phase = PhaseName.DECODE if single else PhaseName.PREFILL
        if self._memory.poison:
            self._memory.poison_arena()
        for work in batch:
            work.state.broken = True
        self._device.use_threads()
        with self._interrupts.allowed():
            if observer is None:
                self.phases[phase].run()
            else:
                self.phases[phase].run_observed(observer.hooks(phase, tokens))
        for work in batch:
            self._store.grow(work.state, work.token_ids, self.rule.regime(work.call_length))
            work.state.broken = False

    def logits_of(self, rows: np.ndarray) -> np.ndarray:
        """Logits of the last step's token `rows`, in a buffer that the next run overwrites."""
        self._inputs.ask(rows)
        self.phases[PhaseName.LOGITS].run()
        return self._logits[: len(rows)]
