"""The Triton function that averages windows of new keys and of those kept before."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.compress_keys.gpu.windows import Windows, write_windows
from sala_compile.codegen.kernels.compress_new_keys.gpu.recent_keys import Recent


@triton.jit
def average_new_windows(
    control,
    token_sequence,
    token_position,
    history,
    slots,
    compressed_table,
    k,
    recent,
    fine,
    coarse,
    compressed_columns,
    C: Recent,
    W: Windows,
):
    """Write the windows that end among TOKENS tokens: programs as of `write_windows`."""
    write_windows(
        _mean,
        (k, recent, token_sequence, history, C),
        control,
        token_sequence,
        token_position,
        slots,
        compressed_table,
        compressed_columns,
        fine,
        coarse,
        W,
    )


@triton.jit
def _mean(keys, last, slot, head, end, W: Windows, PARTS: tl.constexpr):
    """The mean of the PARTS strides of keys before token `end`, rounded as they are kept.

    Row i adds the tokens i, i + STRIDE, ... in this order, then the rows are folded.
    """
    k, recent, token_sequence, history, C = keys
    past = tl.load(history + tl.load(token_sequence + last))
    new = k + (last + 1 - end).to(tl.int64) * C.K_PITCH + C.K_START + head * W.D  # of token 0
    old = recent + (slot * W.KV_HEADS + head) * (C.RECENT * W.D)
    row = tl.arange(0, W.ROWS)
    column = tl.arange(0, W.COLUMNS)[None, :]
    mask = (row < W.STRIDE)[:, None] & (column < W.D)
    total = tl.zeros((W.ROWS, W.COLUMNS), tl.float32)
    for part in tl.static_range(PARTS):  # type: ignore
        token = end + (part - PARTS) * W.STRIDE + row
        is_new = (token >= past)[:, None]
        at = token.to(tl.int64)[:, None] * C.K_PITCH + column
        fresh = tl.load(new + at, mask=mask & is_new, other=0.0).to(old.dtype.element_ty)
        at = (token % C.RECENT)[:, None] * W.D + column
        kept = tl.load(old + at, mask=mask & (token < past)[:, None], other=0.0)
        total += tl.where(is_new, fresh, kept).to(tl.float32)
    return tl.sum(total, 0) * (1.0 / (PARTS * W.STRIDE))
