"""Which blocks of their texts the sparse layers read for answers that are observed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sala_compile.runtime.devices.observe import Observer
from sala_compile.runtime.engine.chunk import StepResult
from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.scheduling.step_plan import Planned
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.work.event import BlocksRead

_KIND = "selected_blocks"


class BlockReads:
    """Counts the blocks for observed jobs; steps without one are not observed."""

    def __init__(self, engine: Engine) -> None:
        """For the sparse layers of an engine, if it has some."""
        self._engine = engine
        self._block = _block_tokens(engine)

    def observer(self, planned: Sequence[Planned]) -> Observer | None:
        """What watches a step; None if nothing in it is observed."""
        observed = self._block and any(task.job.observe for task, _ in planned)
        return self._engine.observer((_KIND,)) if observed else None

    def note(
        self, observer: Observer | None, planned: Sequence[Planned], results: Sequence[StepResult]
    ) -> None:
        """Count what was read for the tokens that were chosen after a step."""
        if observer is None:
            return
        replays = any(chunk.generated and len(chunk) > 1 for _, chunk in planned)
        ran = all(each.error is None or each.logits is not None for each in results)
        if replays or not ran:
            return
        found, row = observer.result()[_KIND], 0
        # The generated tokens of a step run before what is read.
        for task, chunk in sorted(planned, key=lambda each: not each[1].generated):
            row += len(chunk)
            if task.job.observe and len(chunk.rows) and self._selects(chunk.call_length):
                for layer, roles in found.items():
                    _count(task.reads, int(layer or 0), roles["blocks"][row - 1])
                task.observed += 1

    def tell(self, task: Task) -> None:
        """Tell the holder of an observed job, if anything was counted."""
        if task.reads:
            task.tell(BlocksRead(self._block, task.observed, task.reads))

    def _selects(self, call_length: int) -> bool:
        """Whether blocks are chosen in such a call."""
        return "sparse" in self._engine.stepper.rule.path(call_length).split()


def _count(reads: dict[int, np.ndarray], layer: int, blocks: np.ndarray) -> None:
    """Add one to each block that a head read; -1 is none."""
    more = np.bincount(blocks[blocks >= 0]).astype(np.uint32)
    before = reads.get(layer, np.zeros(0, np.uint32))
    total = np.zeros(max(len(more), len(before)), np.uint32)
    total[: len(before)] += before
    total[: len(more)] += more
    reads[layer] = total


def _block_tokens(engine: Engine) -> int:
    """Tokens of a block that sparse layers choose; 0 if none is chosen, or it cannot be seen."""
    try:
        engine.observer((_KIND,))
    except RequestError:
        return 0
    specs: dict[str, Any] = {each.symbol: each.spec for each in engine.artifact.manifest.kernels}
    steps = (step for phase in engine.stepper.target.phases.values() for step in phase.steps)
    sizes = (specs[step.kernel].get("block_size") for step in steps if step.kernel in specs)
    return next((int(size) for size in sizes if size), 0)
