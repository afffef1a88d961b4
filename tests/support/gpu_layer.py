"""One sparse layer for tests of GPU kernels."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tests.support.gpu_pools import GpuPools
from tests.support.sparse_layer import SparseLayer
from tests.support.steps import EXTRA


@dataclass(frozen=True, slots=True)
class GpuLayer(SparseLayer):
    """Inputs of a step, and caches as GPUs have them."""

    pool_type: ClassVar[Any] = GpuPools

    @property
    def bucket(self) -> dict[str, int]:
        """The sizes of grids: larger than those of the step."""
        return {"tokens": self.batch.tokens + EXTRA, "sequences": len(self.batch.counts) + 1}
