"""What is wrong with a chunk that a caller made."""

from collections.abc import Sequence

from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.limits import Limits
from sala_compile.runtime.engine.stepper import Stepper
from sala_compile.runtime.errors import RequestError


def check_chunk(chunk: SequenceChunk, limits: Limits, stepper: Stepper) -> None:
    """RequestError for tokens, rows or draws with which a chunk cannot run."""
    history, ids = chunk.state.length, chunk.token_ids
    if ids.shape == (1,) and ids.dtype.kind == "i" and 0 <= ids.item() < limits.vocabulary:
        limits.check_room(history + 1)
    else:
        limits.checked_tokens(ids, history)
    end = history + len(ids)
    if chunk.call_length < end or (chunk.generated and chunk.call_length > end):
        raise RequestError(
            f"a chunk that ends at {end} tokens is of a call of {chunk.call_length}",
            expected="the length after the call; for generated tokens the end of the chunk",
        )
    if len(chunk) == 1 and chunk.rows in ((), (0,)) and not chunk.draws and chunk.fed is None:
        return
    if [*chunk.rows] != sorted({*chunk.rows} & {*range(len(chunk))}):
        raise RequestError(
            f"logits are requested after the tokens {[*chunk.rows]} of a chunk",
            expected=f"ascending numbers from 0 to {len(chunk) - 1}",
        )
    check_draws(chunk.draws, len(chunk.rows), stepper)
    drafts = chunk.accept is not None
    if drafts and (chunk.draws or not chunk.generated or len(chunk.rows) < len(chunk)):
        raise RequestError(
            "a chunk with drafted tokens is read, or without the logits after each token",
            expected="generated tokens, and logits for the host after all of them",
            fix="use SequenceChunk.verify",
        )
    fed = chunk.fed
    if fed is not None and (fed.state is not chunk.state or not chunk.generated or len(chunk) > 1):
        raise RequestError(
            "a token is fed that was chosen for another sequence, or not alone",
            expected="a chunk of the one generated token that was chosen for its sequence",
        )


def check_draws(draws: Sequence[Draw], rows: int, stepper: Stepper) -> None:
    """RequestError for draws that are not one for each row, or that the device cannot follow."""
    if not draws:
        return
    if len(draws) != rows:
        raise RequestError(
            f"there are {len(draws)} draws for {rows} rows of logits",
            expected="a draw for each row, or none",
        )
    if not stepper.samples:
        raise RequestError("this device chooses no tokens", fix="choose from the logits")
    if any(draw.min_p for draw in draws) and not stepper.samples_min_p:
        raise RequestError("this artifact's device choice has no min_p", fix="compile again")
