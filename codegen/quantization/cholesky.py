"""The Cholesky factor of a large matrix in its own memory."""

import numpy as np

BLOCK = 512
FIRST_DAMPING = 0.01
"""Part of the mean diagonal that is added to it: columns without much calibration change little."""
ATTEMPTS = 5


def damped_cholesky(matrix: np.ndarray, damping: float = FIRST_DAMPING) -> float:
    """Replace a symmetric, positive semidefinite float32 matrix by L: L L^T = matrix + d I.

    Only the lower triangle becomes L. The memory of one block of columns is taken in addition.
    The damping, as a part of the mean diagonal, grows tenfold until the matrix is positive
    definite; the one used is returned. Raises LinAlgError if that does not help: values that
    are not finite, or whose sums are not.
    """
    diagonal = np.diagonal(matrix).copy()
    mean = float(diagonal.mean(dtype=np.float64)) or 1.0
    for attempt in range(ATTEMPTS):
        used = damping * 10.0**attempt
        np.fill_diagonal(matrix, diagonal + np.float32(used * mean))
        try:
            _factorise(matrix)
            if np.isfinite(np.diagonal(matrix)).all():
                return used
        except np.linalg.LinAlgError:
            pass
        _restore(matrix)
    raise np.linalg.LinAlgError("no damping makes the matrix positive definite")


def _factorise(matrix: np.ndarray) -> None:
    """Factorise one block of columns after the other; the upper triangle stays as it is."""
    size = len(matrix)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        columns = matrix[start:, start:stop]
        columns = np.concatenate([_symmetric(columns[: stop - start]), columns[stop - start :]])
        columns -= matrix[start:, :start] @ matrix[start:stop, :start].T
        corner = np.linalg.cholesky(columns[: stop - start])
        lower = np.tri(stop - start, dtype=bool)
        matrix[start:stop, start:stop][lower] = corner[lower]
        if stop < size:
            inverse = np.linalg.inv(corner)
            matrix[stop:, start:stop] = columns[stop - start :] @ inverse.T


def _symmetric(block: np.ndarray) -> np.ndarray:
    """The lower triangle of a block, mirrored."""
    return np.tril(block) + np.tril(block, -1).T


def _restore(matrix: np.ndarray) -> None:
    """Mirror the upper triangle, which a failed attempt has left alone."""
    for start in range(0, len(matrix), BLOCK):
        stop = min(start + BLOCK, len(matrix))
        corner = matrix[start:stop, start:stop]
        corner[...] = np.triu(corner) + np.triu(corner, 1).T
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
