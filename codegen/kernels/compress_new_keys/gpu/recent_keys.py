"""The Triton functions that keep the newest keys of a sequence."""

from typing import Any, NamedTuple

import triton
import triton.language as tl


class Recent(NamedTuple):
    """Where keys are in rows of the step, and how many of a sequence are kept.

    A program keeps PLACES of the RECENT ones; COLUMNS is a power of two that holds D.
    """

    KV_HEADS: Any
    D: Any
    K_START: Any
    K_PITCH: Any
    RECENT: Any
    PLACES: Any
    COLUMNS: Any


@triton.jit
def keep_keys(control, offsets, history, slots, k, recent, C: Recent):
    """Keep the newest keys in their places: programs (sequences, kv heads, tiles of places).

    Places of a new sequence that no token has become 0.
    """
    sequence = tl.program_id(0)
    if sequence >= tl.load(control + 1):
        return
    start = tl.load(offsets + sequence)
    past = tl.load(history + sequence)
    last = past + tl.load(offsets + sequence + 1) - start - 1
    keys, is_new, inside, cell = _newest(k, start - past, past, last, C)
    to = recent + tl.load(slots + sequence).to(tl.int64) * (C.KV_HEADS * C.RECENT * C.D) + cell
    changed = tl.where(past == 0, 1, is_new.to(tl.int32)) > 0
    tl.store(to, keys.to(recent.dtype.element_ty), mask=changed & inside)


@triton.jit
def keep_between(
    control,
    token_sequence,
    token_position,
    offsets,
    history,
    slots,
    checkpoints,
    k,
    recent,
    C: Recent,
):
    """Keep the keys after every token but a sequence's last: programs (tokens, kv heads, tiles).

    They go to the rows of the pool from the sequence's checkpoint on, unless that is negative.
    """
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    sequence = tl.load(token_sequence + row)
    checkpoint = tl.load(checkpoints + sequence)
    start = tl.load(offsets + sequence)
    if (checkpoint < 0) | (row >= tl.load(offsets + sequence + 1) - 1):
        return
    past = tl.load(history + sequence)
    last = tl.load(token_position + row)
    keys, is_new, inside, cell = _newest(k, start - past, past, last, C)
    pool_row = C.KV_HEADS * C.RECENT * C.D
    slot = tl.load(slots + sequence).to(tl.int64)
    is_old = tl.where(past > 0, 1 - is_new.to(tl.int32), 0) > 0
    old = tl.load(recent + slot * pool_row + cell, mask=is_old & inside, other=0.0)
    to = recent + (checkpoint + row - start).to(tl.int64) * pool_row + cell
    tl.store(to, tl.where(is_new, keys.to(recent.dtype.element_ty), old), mask=inside)


@triton.jit
def _newest(k, begin, past, last, C: Recent):
    """What a tile of places holds after token `last`, where that is one of the new tokens.

    `begin` is the row where token 0 would be. Returns keys, which places have a new token, which
    cells there are, and their offsets in a row of the pool.
    """
    head = tl.program_id(1)
    place = tl.program_id(2) * C.PLACES + tl.arange(0, C.PLACES)
    token = last - (last - place + C.RECENT) % C.RECENT
    is_new = (token >= past)[:, None]
    column = tl.arange(0, C.COLUMNS)[None, :]
    inside = (place < C.RECENT)[:, None] & (column < C.D)
    at = (begin + token).to(tl.int64)[:, None] * C.K_PITCH + C.K_START + head * C.D + column
    keys = tl.load(k + at, mask=is_new & inside, other=0.0)
    return keys, is_new, inside, (head * C.RECENT + place)[:, None] * C.D + column
