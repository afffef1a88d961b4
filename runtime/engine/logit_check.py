"""Logits that are not numbers are reported, never returned. Infinities are values."""

import numpy as np

from sala_compile.runtime.errors import ArtifactError

BLOCK = 1 << 20
"""Values that are looked at together."""


class NotANumberError(ArtifactError):
    """A model that computed NaN as a logit."""


def first_with_nan(rows: np.ndarray) -> int | None:
    """The first row of float32 `rows` [rows, vocabulary] that has a NaN."""
    if rows.size == 0:
        return None
    largest = rows.max()
    if largest == largest:  # a maximum over a NaN is one, unlike itself
        return None
    step = max(1, BLOCK // max(1, rows.shape[1]))
    for begin in range(0, len(rows), step):
        wrong = np.isnan(rows[begin : begin + step])
        if wrong.any():
            return begin + int(wrong.any(axis=1).argmax())
    return None


def require_numbers(rows: np.ndarray, begin: int = 0) -> np.ndarray:
    """`rows` [rows, vocabulary] of logits after the tokens from `begin` on; NotANumberError."""
    row = first_with_nan(rows)
    if row is not None:
        raise nan_after(rows[row], begin + row)
    return rows


def nan_after(logits: np.ndarray, token: int, of: str = "") -> NotANumberError:
    """The error for the logits [vocabulary] after the token of this number."""
    return nan_in_row(logits, f"the logits after token {token}{of}")


def nan_in_row(logits: np.ndarray, where: str) -> NotANumberError:
    """The error for a row of logits [vocabulary] with at least one NaN."""
    wrong = np.flatnonzero(np.isnan(logits))
    return NotANumberError(
        "the model computed a logit that is not a number",
        where=f"{where}: {len(wrong)} of {len(logits)}, the first for the token id {wrong[0]}",
        expected="numbers",
        fix="sala-inspect --verify checks whether the artifact runs right on this machine: if it "
        "fails, compile again; if it passes, this text (or the state file that it continues) "
        "takes the model beyond its range: compile with --dtype float32, or read the text again",
    )


def not_a_number() -> ArtifactError:
    """What is wrong where a logit is NaN."""
    return ArtifactError(
        "the model computed a logit that is not a number",
        fix="sala-inspect --verify checks whether the artifact runs right on this machine",
    )


def no_choice() -> ArtifactError:
    """What is wrong where every logit is minus infinity."""
    return ArtifactError(
        "the model computed minus infinity for every token, so that none can be chosen",
        fix="sala-inspect --verify checks whether the artifact runs right on this machine",
    )
