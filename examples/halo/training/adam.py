"""AdamW without weight decay, whose memory can be halved: weights and moments in bfloat16."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

BETAS = (0.9, 0.95)
EPSILON = 1e-8
SLICE = 1 << 24
"""Values whose step is computed at once: a float32 copy of a large matrix is large."""
Group = Callable[[str], str]
"""Of a parameter's name, which others its gradient is clipped with."""


def together(_: str) -> str:
    """All parameters are clipped together."""
    return ""


@dataclass
class Adam:
    """The optimiser of named parameters, changed in place; their gradients are read and freed.

    Moments have the element type of their parameter. Steps are computed in float32; a bfloat16
    parameter is rounded up or down by chance, with `seed` and the number of the step, so that
    steps below its spacing count on average. Each `group` of parameters is clipped by itself.
    """

    parameters: Mapping[str, torch.Tensor]
    seed: int
    group: Group = together
    taken: int = 0
    moments: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, parameter in self.parameters.items():
            first, second = (torch.zeros_like(parameter, requires_grad=False) for _ in range(2))
            self.moments[name] = (first, second)

    @torch.no_grad()
    def step(self, rate: float, clip: float) -> float:
        """Take one step, the gradients of a group scaled to at most the norm `clip`.

        Returns the norm of all before that.

        Raises FloatingPointError for a gradient that is no number: nothing has changed then.
        """
        gradients = {
            name: parameter.grad
            for name, parameter in self.parameters.items()
            if parameter.grad is not None
        }
        groups: dict[str, list[torch.Tensor]] = {}
        norms = torch._foreach_norm(list(gradients.values()))
        for name, norm in zip(gradients, norms, strict=True):
            groups.setdefault(self.group(name), []).append(norm.float())
        sizes = {group: float(torch.stack(found).norm()) for group, found in groups.items()}
        total = math.hypot(*sizes.values())
        if not math.isfinite(total):
            raise FloatingPointError(f"the norm of the gradients is {total}")
        self.taken += 1
        device = next(iter(gradients.values())).device
        chance = torch.Generator(device).manual_seed(self.seed << 32 | self.taken)
        for name, gradient in gradients.items():
            factor = min(1.0, clip / (sizes[self.group(name)] + 1e-6))
            whole = (self.parameters[name], *self.moments[name], gradient.contiguous())
            for part in zip(*(x.view(-1).split(SLICE) for x in whole), strict=True):
                self._update(*part[:3], part[3].float() * factor, rate, chance)
            self.parameters[name].grad = None
        return total

    def _update(
        self,
        parameter: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        gradient: torch.Tensor,
        rate: float,
        chance: torch.Generator,
    ) -> None:
        a, b = BETAS
        one = first.float().lerp_(gradient, 1 - a)
        two = second.float().mul_(b).addcmul_(gradient, gradient, value=1 - b)
        first.copy_(one)
        second.copy_(two)
        root = (two / (1 - b**self.taken)).sqrt_().add_(EPSILON)
        moved = parameter.float().addcdiv(one, root, value=-rate / (1 - a**self.taken))
        if parameter.dtype == torch.bfloat16:
            moved = rounded_by_chance(moved, chance)
        parameter.copy_(moved)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps besides the parameters."""
        return {"taken": self.taken, "moments": dict(self.moments)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state of a checkpoint."""
        self.taken = state["taken"]
        for name, kept in state["moments"].items():
            for moment, value in zip(self.moments[name], kept, strict=True):
                moment.copy_(value)


def rounded_by_chance(x: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Round float32 values to neighbours in bfloat16, the nearer one more often: exact on average.

    A value that bfloat16 holds stays as it is.
    """
    bits = x.contiguous().view(torch.int32)
    noise = torch.randint(
        0, 1 << 16, bits.shape, generator=chance, device=x.device, dtype=torch.int32
    )
    return ((bits + noise) & -65536).view(torch.float32).to(torch.bfloat16)
