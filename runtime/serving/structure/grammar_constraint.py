"""A compiled grammar as a constraint of one answer."""

import numpy as np
from llguidance import LLMatcher

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.structure.structure import Structure


class GrammarConstraint:
    """Follows one answer through a grammar."""

    def __init__(
        self, matcher: LLMatcher, vocabulary: int, size: int, structure: Structure
    ) -> None:
        """From a matcher of `size` ids at its beginning, which was compiled of `structure`."""
        self.structure = structure
        self._matcher = matcher
        self._where = structure.where
        self._vocabulary = vocabulary
        self._words = (vocabulary + 31) // 32
        known = (size + 31) // 32  # the library may know an end beyond the vocabulary
        self._mask = np.zeros(known, np.uint32)

    def allowed(self) -> np.ndarray:
        """Packed bits of the allowed ids, uint32 [ceil(vocabulary / 32)]."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        mask = self._mask[: self._words]
        rest = self._vocabulary % 32
        if rest:
            mask[-1] &= np.uint32((1 << rest) - 1)
        if not mask.any():
            raise RequestError("the answer cannot continue by the grammar", self._where)
        return mask

    def accept(self, token: int) -> None:
        """Note the chosen token; RequestError if it was not allowed."""
        if not self._matcher.consume_token(token):
            self._check()
            raise RequestError(f"token {token} is not allowed by the grammar", self._where)

    def complete(self) -> bool:
        """Whether nothing may follow but an end."""
        return self._matcher.is_stopped()

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""
        return self._matcher.validate_tokens([token]) == 1

    def _check(self) -> None:
        if self._matcher.is_error():
            said = " ".join(self._matcher.get_error().split()).split("<")[0]
            raise RequestError(
                f"the answer cannot continue: its grammar takes too much: {said}", self._where
            )
