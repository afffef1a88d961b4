"""The recurrence of Lightning attention as an operation of torch, forward and backward."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

COLUMNS = 32
"""Columns of the state that a program has; more programs of fewer columns fill small GPUs."""
STAGES = 1
"""Of Triton's pipelining: with more the chunks that are loaded ahead fill the shared memory."""
PRECISION = "tf32"
"""Of the products: tf32, or ieee for those of float32."""


def lightning_triton(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    slopes: Sequence[float] | np.ndarray,
    state: torch.Tensor,
    history: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `sala_ir.reference.lightning_recurrence` computes, in float32, with gradients of all.

    q, k [texts, tokens, heads, D], v [texts, tokens, heads, E], state [texts, heads, D, E] on a
    GPU. The result does not depend on `history`.
    """
    rates = torch.as_tensor(np.asarray(slopes, np.float32), device=q.device)
    inputs = (x.float().contiguous() for x in (q, k, v, state))
    return _Recurrence.apply(*inputs, rates)


class _Recurrence(torch.autograd.Function):
    """Its gradients are recurrences of the same kind, by the symmetry of q, k, v and the output.

    With g the gradient of the output: that of q is the recurrence of (g, v, k); those of k and v
    are, backwards in time, the recurrences of (v, g, q) and (k, q, g).
    """

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, state: Any, rates: Any) -> Any:
        ctx.save_for_backward(q, k, v, state, rates)
        return run(q, k, v, state, rates)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, state, rates = ctx.saved_tensors
        out, last = (x.float().contiguous() for x in gradients)
        dq, _ = run(out, v, k, state.transpose(2, 3).contiguous(), rates)
        # A reversed recurrence decays what it begins with once before its first token.
        after = last * rates.exp()[:, None, None]
        dv, first = run(k, q, out, after, rates, reverse=True)
        dk, _ = run(v, out, q, after.transpose(2, 3).contiguous(), rates, reverse=True)
        return dq, dk, dv, first * (-rates).exp()[:, None, None], None


def run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    first: torch.Tensor,
    rates: torch.Tensor,
    *,
    reverse: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output and the last state; with `reverse` from the last token to the first."""
    texts, tokens, heads, size = q.shape
    out, last = torch.empty_like(v), torch.empty_like(first)
    fixed = constants(size, v.shape[3], reverse)
    grid = (texts * heads, -(-v.shape[3] // fixed["COLUMNS"]), 1)
    tensors = {
        **{"q": q, "k": k, "v": v, "out": out},
        **{"first": first, "last": last, "slopes": rates},
    }
    launch(grid, tensors, {"tokens": tokens, "heads": heads}, fixed)
    return out, last


def constants(size: int, width: int, reverse: bool) -> dict[str, Any]:
    """What the kernel is compiled for: heads of `size` columns, and of `width` in the values."""
    rows, columns = (max(16, 1 << (x - 1).bit_length()) for x in (size, width))
    return {
        **{"D": size, "E": width, "ROWS": rows, "COLUMNS": min(columns, COLUMNS)},
        **{"CHUNK": 64 if rows <= 64 else 32, "REVERSE": reverse, "PRECISION": PRECISION},
    }


def launch(
    grid: tuple[int, int, int],
    tensors: dict[str, torch.Tensor],
    sizes: dict[str, int],
    fixed: dict[str, Any],
) -> None:
    """Launch the kernel on the tensors' device."""
    from examples.halo.triton_lightning.kernel import recurrence_kernel

    recurrence_kernel[grid](**tensors, **sizes, **fixed, num_stages=STAGES)
