"""The least time of each kernel: its operations and bytes over the ceilings of the device.

Bytes count every input read once and every output written once. `exponentials` is beside the
products where a kernel needs one for each score: on Hopper they take nearly as long.
"""

from dataclasses import dataclass

from benchmarks.gpu.sizes import Sizes

LIGHTNING_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Rates measured on the device in the same run, per second."""

    operations: float
    """Of bf16 products, on random data."""
    bytes: float
    """Of device memory, read and written bytes counted."""
    exponentials: float
    """Of the special function units: 16 in a cycle of a multiprocessor."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a kernel has to do at the least."""

    operations: float = 0.0
    bytes: float = 0.0
    exponentials: float = 0.0

    def seconds(self, ceilings: Ceilings) -> float:
        """The longest of the three times."""
        return max(
            self.operations / ceilings.operations,
            self.bytes / ceilings.bytes,
            self.exponentials / ceilings.exponentials,
        )

    def bound(self, ceilings: Ceilings) -> str:
        """Which of the three is the longest."""
        times = {
            "products": self.operations / ceilings.operations,
            "memory": self.bytes / ceilings.bytes,
            "exponentials": self.exponentials / ceilings.exponentials,
        }
        return max(times, key=lambda name: times[name])


def linear(rows: int, columns: int, depth: int, *, weight_bits: float, output_bytes: int) -> Cost:
    """x [rows, depth] bf16 times a weight [columns, depth]."""
    moved = columns * depth * weight_bits / 8 + 2 * rows * depth + output_bytes * rows * columns
    return Cost(operations=2.0 * rows * columns * depth, bytes=moved)


def lightning_prefill(sizes: Sizes, tokens: int) -> Cost:
    """q, k, v read and the output written as float32; products inside and across chunks."""
    width = sizes.heads * sizes.head_dim
    inside = 4.0 * LIGHTNING_CHUNK * sizes.head_dim
    across = 4.0 * sizes.head_dim * sizes.head_dim
    return Cost(operations=tokens * sizes.heads * (inside + across), bytes=tokens * width * 4.0 * 4)


def lightning_decode(sizes: Sizes, sequences: int) -> Cost:
    """Every state read and written once, in float32."""
    state = sizes.heads * sizes.head_dim * sizes.head_dim * 4.0
    return Cost(bytes=2 * state * sequences)


def compressed_keys(sizes: Sizes, context: int) -> float:
    """Compressed keys of both levels at a length, for each kv head."""
    return context / sizes.stride * 1.25


def scoring(sizes: Sizes, tokens: int, context: int) -> Cost:
    """Both passes over the compressed keys for `tokens` queries at about `context`."""
    scores = tokens * sizes.heads * compressed_keys(sizes, context)
    keys = sizes.kv_heads * compressed_keys(sizes, context) * sizes.head_dim * 2.0
    blocks = tokens * sizes.kv_heads * context / sizes.block * 4.0
    return Cost(2.0 * sizes.head_dim * scores, keys + blocks, scores)


def selection(sizes: Sizes, tokens: int, context: int) -> Cost:
    """Block scores read once, the lists written."""
    rows = tokens * sizes.kv_heads
    return Cost(bytes=rows * (context / sizes.block + sizes.budget) * 4.0)


def sparse_attention(sizes: Sizes, tokens: int) -> Cost:
    """The chosen blocks for each query; keys and values come from the L2 cache but for once."""
    visible = sizes.budget * sizes.block
    products = 4.0 * tokens * sizes.heads * sizes.head_dim * visible
    rows = tokens * sizes.heads * sizes.head_dim * (4.0 + 2.0)
    return Cost(products, rows, float(tokens * sizes.heads * visible))


def sparse_decode(sizes: Sizes, sequences: int) -> Cost:
    """The chosen blocks of keys and values read once."""
    visible = sizes.budget * sizes.block
    return Cost(bytes=sequences * sizes.kv_heads * visible * sizes.head_dim * 4.0)


def decode_step(sizes: Sizes, context: int, sequences: int, *, weight_bits: float) -> Cost:
    """A whole decode step: weights, states, compressed keys and the chosen blocks."""
    weights = sizes.linear_weights * weight_bits / 8 + sizes.vocabulary * sizes.hidden * 2.0
    states = sizes.lightning_layers * lightning_decode(sizes, sequences).bytes
    keys = sizes.kv_heads * compressed_keys(sizes, context) * sizes.head_dim * 2.0
    chosen = sparse_decode(sizes, sequences).bytes
    return Cost(bytes=weights + states + sizes.sparse_layers * (keys * sequences + chosen))
