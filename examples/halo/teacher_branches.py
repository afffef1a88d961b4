"""What the teacher's mixers read and give, kept for a while so that it is learned from again."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from examples.halo.torch_decoder import TorchDecoder

WINDOW_TOKENS = 16384
"""Tokens whose values are kept at once: 4 bytes of each for a column and layer."""
Branches = list[tuple[torch.Tensor, torch.Tensor]]
"""Of each layer what its mixer reads and what it gives, [rows, hidden]."""


@dataclass
class TeacherBranches:
    """The teacher's branches on batch 0, 1, ... of the texts that `batch` gives.

    With `passes` above 1 a window of batches is read as many times before the next one, each
    time in another order, which follows from `seed`: all else follows from the number of a turn.
    """

    teacher: TorchDecoder
    batch: Callable[[int], torch.Tensor]
    dtype: torch.dtype
    passes: int
    seed: int
    window: int
    _kept: dict[int, tuple[torch.Tensor, Branches]] = field(default_factory=dict)

    def turn(self, number: int) -> tuple[torch.Tensor, Branches]:
        """The texts [texts, tokens] of turn 0, 1, ... and the branches on them."""
        window, turn = divmod(number, self.window * self.passes)
        again, place = divmod(turn, self.window)
        order = np.random.default_rng([self.seed, 10, window, again]).permutation(self.window)
        wanted = window * self.window + int(order[place])
        if wanted not in self._kept:
            here = range(window * self.window, (window + 1) * self.window)
            self._kept = {each: found for each, found in self._kept.items() if each in here}
            ids = self.batch(wanted)
            self._kept[wanted] = ids, self._branches(ids)
        return self._kept[wanted]

    @torch.no_grad()
    def _branches(self, ids: torch.Tensor) -> Branches:
        teacher, found = self.teacher, []
        values = teacher.begin(ids)
        stream = teacher.stream(values)
        for layer in range(len(teacher.parts.layers)):
            normal = teacher.normal(values, layer, stream)
            branch = teacher.mixer(values, layer, normal)
            found.append((normal.to(self.dtype), branch.to(self.dtype)))
            stream = teacher.rest(values, layer, stream, branch)
        return found


def window_of(passes: int, batch_tokens: int) -> int:
    """How many batches a window has; one alone where each is read once."""
    return 1 if passes == 1 else max(1, WINDOW_TOKENS // batch_tokens)
