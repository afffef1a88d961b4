"""Logits that are no numbers: told, never returned."""

import numpy as np

from runtime.errors import ArtifactError

BLOCK = 1 << 20
"""Values that are looked at together."""


class NotFiniteError(ArtifactError):
    """A model whose logits are not finite numbers."""


def first_not_finite(rows: np.ndarray) -> int | None:
    """The first row of float32 `rows` [rows, vocabulary] that has NaN or an infinity."""
    step = max(1, BLOCK // max(1, rows.shape[1]))
    for begin in range(0, len(rows), step):
        finite = np.isfinite(rows[begin : begin + step])
        if not finite.all():
            return begin + int(finite.all(axis=1).argmin())
    return None


def require_finite(rows: np.ndarray, begin: int = 0) -> np.ndarray:
    """`rows` [rows, vocabulary] of logits behind the tokens from `begin` on; NotFiniteError."""
    row = first_not_finite(rows)
    if row is not None:
        raise not_finite(rows[row], f"the logits behind token {begin + row}")
    return rows


def not_finite(logits: np.ndarray, where: str) -> NotFiniteError:
    """The error for a row of logits [vocabulary], of which at least one is not finite."""
    wrong = np.flatnonzero(~np.isfinite(logits))
    what = "that is not a number" if np.isnan(logits[wrong]).any() else "that is infinite"
    return NotFiniteError(
        f"the model computed a logit {what}",
        where=f"{where}: {len(wrong)} of {len(logits)}, the first for the token id {wrong[0]}",
        expected="finite numbers",
        fix="sala-inspect --verify tells whether the artifact runs right on this machine: where it "
        "fails, compile again; where it holds, this text (or the state file that it goes on from) "
        "takes the model beyond its range: compile with --dtype float32, or read the text again",
    )
