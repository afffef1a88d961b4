"""Runs steps: a ragged batch of new tokens through the program."""

from collections.abc import Callable
from collections.abc import Sequence as Items

import numpy as np

from sala_compile.runtime.artifact import Artifact, InputName, PhaseName
from sala_compile.runtime.devices.device import Device, Memory
from sala_compile.runtime.devices.interrupts import Interrupts
from sala_compile.runtime.devices.observe import Observer
from sala_compile.runtime.engine.batch import BatchInputs, Work
from sala_compile.runtime.generation.sampling import MIN_P_WORDS, Draw, no_choice, not_a_number
from sala_compile.runtime.state.attention_paths import PathRule
from sala_compile.runtime.state.store import State, StateStore

SAMPLED = "sampled"
"""The value that the sample phase writes, [logit_rows, 2]: a token for each row of logits, and a
mark: 1 where one of them is not a number, 2 where all are minus infinity."""
_ALL_MASKED = 2


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
        self._draw_words = self._inputs.draw_words
        self.program = device.bind(memory)
        self.rule = PathRule(artifact.program.paths)
        self._vocabulary = artifact.manifest.model.vocabulary
        self._logits = artifact.program.logits
        self._sampled: State | None = None

    @property
    def samples(self) -> bool:
        """Whether the device can choose tokens."""
        return PhaseName.SAMPLE in self.program.phases

    @property
    def samples_min_p(self) -> bool:
        """Whether the device can also drop tokens by `min_p`."""
        return self.samples and self._draw_words >= MIN_P_WORDS

    def run(
        self,
        batch: Items[Work],
        observer: Observer | None = None,
        draws: Items[Draw] = (),
        *,
        fed: bool = False,
    ) -> None:
        """Run the batch up to the final hidden states, and advance its sequences.

        With `fed`, its one token is the one that the device holds for it, whatever stands there.
        """
        self._sampled = None
        self._inputs.check(batch)
        for work in batch:
            self._store.reserve(work.state, work.state.length + len(work.token_ids))
        self._inputs.write(batch, draws)
        if fed:
            self._memory.keep_row(SAMPLED, 0, InputName.TOKENS.value, 0)
        sizes = self._inputs.sizes
        single = all(work.generated and len(work.token_ids) == 1 for work in batch)
        phase = PhaseName.DECODE if single else PhaseName.PREFILL
        if self._memory.poison:
            self._memory.poison_arena()
        for work in batch:
            work.state.broken = True
        hooks = None if observer is None else observer.hooks(phase, sizes.tokens)
        with self._interrupts.allowed():
            self.program.run(phase, sizes, hooks)
        for work in batch:
            self._store.grow(work.state, work.token_ids, self.rule.path(work.call_length))
            work.state.broken = False

    def find_logits(self, rows: np.ndarray | None = None) -> None:
        """Compute the logits of the last step's token `rows`, of each last token unless told."""
        self._sampled = None
        if rows is not None:
            self._inputs.ask(rows)
        self.program.run(PhaseName.LOGITS, self._inputs.sizes)

    def logits(self) -> np.ndarray:
        """A copy of the newest logits [rows, vocabulary]."""
        found = np.empty((self._inputs.sizes.logit_rows, self._vocabulary), np.float32)
        self._memory.read(self._logits, found)
        return found

    def holds_token(self, state: State) -> bool:
        """Whether the device has the token chosen for a state, because nothing ran since."""
        return self._sampled is state

    def sample(self, state: State) -> Callable[[], int]:
        """Choose a token for a state from the first row of logits; what waits for it and gives it.

        That raises ArtifactError where a logit is not a number, or all are minus infinity.
        """
        self.program.run(PhaseName.SAMPLE, self._inputs.sizes)
        arrival = self._memory.read_later(SAMPLED, 1)
        self._sampled = state

        def take() -> int:
            token, wrong = arrival()[0].tolist()
            if wrong:
                raise no_choice() if wrong == _ALL_MASKED else not_a_number()
            return token

        return take

    def close(self) -> None:
        """Let go of the kernels and buffers; nothing runs afterwards."""
        self.program.close()
        del self._memory, self._inputs
