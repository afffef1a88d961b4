"""The peer of Lightning attention: fla's kernels for the same recurrence.

    python -m benchmarks.gpu.fla_peers build/gpu build/gpu/results --part fla

`simple_gla` has a decay that depends on the head alone. Its kernels are compiled here, by the
machine's Triton, and choose among few of their configurations: compiling all of them takes longer
than everything else.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.budget import Row, measure
from benchmarks.gpu.part import part
from benchmarks.gpu.peers import CHUNK, COPIES
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.timing import median_seconds

CONFIGURATIONS = 3
"""Of each kernel, spread over those that fla tries."""


def spread(configurations: Sequence[Any], most: int = CONFIGURATIONS) -> list[Any]:
    """At most so many of them, at equal distances."""
    count = len(configurations)
    if count <= most:
        return list(configurations)
    return [configurations[(2 * place + 1) * count // (2 * most)] for place in range(most)]


def restrict(modules: dict[str, Any]) -> int:
    """Leave every autotuned kernel of fla that is imported few configurations; how many kernels."""
    seen: set[int] = set()
    for name in [name for name in modules if name.split(".")[0] == "fla"]:
        for value in list(vars(modules[name]).values()):
            tuner = value
            while tuner is not None and not hasattr(tuner, "configs"):
                tuner = getattr(tuner, "fn", None)
            if tuner is not None and id(tuner) not in seen:
                seen.add(id(tuner))
                tuner.configs = spread(tuner.configs)
    return len(seen)


def slopes(heads: int) -> Tensor:
    """The decay of each head, as the logarithm's negative: 2^(-8 (h + 1) / heads)."""
    return 2.0 ** (-8 * torch.arange(1, heads + 1, device="cuda", dtype=torch.float32) / heads)


def recur(kernel: Callable[..., Any], sizes: Sizes, tokens: int) -> dict[str, float]:
    """Seconds of a kernel over some tokens of one sequence."""
    shape = (1, tokens, sizes.heads, sizes.head_dim)
    sets = [
        [torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
        for _ in range(COPIES)
    ]
    state = torch.zeros(1, sizes.heads, sizes.head_dim, sizes.head_dim, device="cuda")
    decay, scale = -slopes(sizes.heads), 1 / math.sqrt(sizes.head_dim)

    def once(index: int) -> None:
        query, key, value = sets[index % COPIES]
        kernel(
            query,
            key,
            value,
            g_gamma=decay,
            scale=scale,
            initial_state=state,
            output_final_state=True,
        )

    return {"seconds": median_seconds(once)}


def rows(sizes: Sizes) -> Iterator[Row]:
    """The recurrent and the chunked kernels."""
    from fla.ops.simple_gla import chunk_simple_gla, fused_recurrent_simple_gla

    restrict(sys.modules)
    yield (
        "fla fused_recurrent_simple_gla, 1 token",
        partial(recur, fused_recurrent_simple_gla, sizes, 1),
    )
    yield f"fla chunk_simple_gla, {CHUNK} tokens", partial(recur, chunk_simple_gla, sizes, CHUNK)


def main() -> None:
    """Measure and write seconds by name."""
    with part(__doc__) as mine:
        mine.document.note(configurations=CONFIGURATIONS)
        measure(mine.document, mine.budget, rows(Sizes.released()))


if __name__ == "__main__":
    main()
