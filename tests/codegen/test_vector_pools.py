"""Golden pools hold what the kernels would have written."""

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16

from sala_compile.codegen.vectors.batch import Part, VectorBatch
from sala_compile.codegen.vectors.pools import write_pools
from sala_compile.sala_ir.dialect.types import KvCacheType


@pytest.mark.parametrize("block", [3, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8])
def test_a_value_without_a_partner_is_paired_with_zero(block: int, count: int):
    """At the end of a text, and at the end of every page of an odd number of tokens."""
    batch = VectorBatch((Part(0, count, count),), block)
    (slot,) = batch.slots
    state = np.ones((count, 1, 4), np.float32), np.full((count, 1, 4), 2, np.float32)
    pool = write_pools(KvCacheType(1, block, 4, bf16), {slot: state}, batch)["v"]
    for first in range(0, count, block):
        live = min(block, count - first)
        pairs = pool[batch.page_table[slot, first // block], 0, :, :4]
        flat = pairs.transpose(0, 2, 1).reshape(-1, 4)
        assert (flat[:live] == 2).all()
        assert (flat[live : live + live % 2] == 0).all()
        assert np.isnan(flat[live + live % 2 :]).all()
