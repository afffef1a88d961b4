"""What GPUs do at most: every constant that the time model takes from outside of the code.

The first measurements correct this file and nothing else: `measured` and `assumed` say which
numbers are which.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    """Rates of a GPU, per second unless a name says clocks.

    `hertz` is the clock under load, `tensor` dense bf16 products with float32 sums, `legacy` the
    share of it that `mma.sync` reaches, `dram` and `l2` bytes, `integer_clocks` those of a
    scheduler for an integer instruction of a warp. `gap` seconds pass between dependent launches of
    a graph, `ramp` until the first bytes of a launch have come and its last block has ended.
    """

    name: str
    architecture: int
    processors: int
    hertz: float
    tensor: float
    legacy: float
    dram: float
    l2: float
    integer_clocks: int
    registers: int
    shared_bytes: int
    threads: int
    gap: float
    ramp: float

    @property
    def schedulers(self) -> int:
        """Warp instructions that the GPU starts in a clock at most."""
        return 4 * self.processors


CARDS = {
    card.name: card
    for card in (
        Card(
            name="H200",
            architecture=90,
            processors=132,
            hertz=1.755e9,  # assumed: 1.98 GHz at most, less under load
            tensor=790e12,  # measured on another such card
            legacy=0.62,  # assumed: what others report of mma.sync on Hopper
            dram=4.3e12,  # measured on another such card
            l2=7.3e12,  # assumed: others' 620 TFLOP/s in tiles of 128 x 256 ask for that
            integer_clocks=2,
            registers=65536,
            shared_bytes=228 << 10,
            threads=2048,
            gap=0.9e-6,  # assumed
            ramp=0.8e-6,  # assumed: a read of memory that misses, and an uneven end
        ),
        Card(
            name="RTX 4090",
            architecture=89,
            processors=128,
            hertz=2.52e9,
            tensor=165e12,  # the vendor's number
            legacy=1.0,
            dram=0.95e12,  # assumed: 94 % of the vendor's number
            l2=5.0e12,  # assumed
            integer_clocks=2,
            registers=65536,
            shared_bytes=100 << 10,
            threads=1536,
            gap=0.9e-6,
            ramp=0.8e-6,
        ),
        Card(
            name="RTX 5090",
            architecture=120,
            processors=170,
            hertz=2.41e9,
            tensor=210e12,  # the vendor's number
            legacy=1.0,
            dram=1.68e12,  # assumed: 94 % of the vendor's number
            l2=6.0e12,  # assumed
            integer_clocks=1,
            registers=65536,
            shared_bytes=100 << 10,
            threads=1536,
            gap=0.9e-6,
            ramp=0.8e-6,
        ),
    )
}
"""The GPUs of the tables."""

EXPONENTIALS = 16
"""Of the special function units of a multiprocessor in a clock."""
PORT = 64
"""Bytes that a multiprocessor takes from the second-level cache in a clock; assumed."""
RESERVED = 1024
"""Bytes of shared memory that a block takes beside its own."""
