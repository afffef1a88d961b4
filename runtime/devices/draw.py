"""How a device chooses a token."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Draw:
    """How a device chooses one token: as `Sampler`, with `uniform` as the random number."""

    temperature: float
    top_p: float
    top_k: int
    uniform: float
    min_p: float = 0.0

    def words(self, count: int) -> np.ndarray:
        """The draw as a kernel reads it, int32 [count]: floats by their bits, top_k third.

        Kernels of `MIN_P_WORDS` read `min_p` after the others; with fewer it is 0.
        """
        assert count >= MIN_P_WORDS or self.min_p == 0, "no kernel that knows min_p"
        floats = [self.temperature, self.top_p, 0, self.uniform, self.min_p]
        words = np.array(floats, np.float32)[:count]
        words[3] = min(words[3], _BELOW_ONE)
        found = words.view(np.int32)
        found[2] = min(self.top_k, _LARGEST)
        return found


MIN_P_WORDS = 5
_LARGEST = 2**31 - 1
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))
