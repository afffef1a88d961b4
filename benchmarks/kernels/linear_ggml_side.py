"""ggml's products with the matrices of some layers, in every layout that its CPU backend has."""

import numpy as np

from benchmarks.kernels.ggml_backend import GgmlBackend, Layout
from benchmarks.kernels.ggml_library import GgmlLibrary
from benchmarks.kernels.layer_stacks import ROWS, Kind, matrices, work_name
from benchmarks.kernels.linear_cases import Work
from sala_compile.runtime.errors import RequestError

PERIOD = 256
"""Rows of random numbers, repeated over a matrix."""
LARGEST_ERROR = 0.2
"""Of a product with weights of 4 bits beside the exact one, relative in norm: about 0.1."""
Stored = dict[int, tuple[np.ndarray, np.ndarray]]
"""Depth -> random weights [PERIOD, depth], and the bytes of the same in a kind."""


class GgmlSide:
    """Works named by `work_name` with the layout behind it; one graph each."""

    def __init__(self, where: str, layers: int, threads: int, kinds: tuple[Kind, ...]) -> None:
        """Make the weights of every kind in every layout that the kind has on this CPU."""
        self.scales: dict[str, int] = {}
        self.works: dict[str, Work] = {}
        self._backend = GgmlBackend(GgmlLibrary(where), threads)
        self._shapes = matrices(layers)
        shapes = sorted(set(self._shapes))
        for kind in dict.fromkeys(peer for own in kinds for peer in own.peers):
            for layout in self._backend.layouts:
                if all(self._backend.supports(kind, *shape, layout) for shape in shapes):
                    self._add(kind, layout)

    def _add(self, kind: str, layout: Layout) -> None:
        """Store the weights of a kind and build a graph for each number of rows."""
        context = self._backend.context()
        weights = [
            self._backend.tensor(context, kind, depth, columns) for columns, depth in self._shapes
        ]
        self._backend.allocate(context, layout, weights=True)
        stored: Stored = {}
        for weight, (columns, depth) in zip(weights, self._shapes, strict=True):
            if depth not in stored:
                values = np.random.default_rng(1).standard_normal((PERIOD, depth), np.float32)
                stored[depth] = values, self._backend.quantized(kind, values)
            self._backend.write(weight, np.tile(stored[depth][1], (columns // PERIOD, 1)))
        for work, rows in ROWS.items():
            name = f"{work_name(work, kind)} {layout.name}"
            self.works[name] = self._stack(name, weights, stored, rows)

    def _stack(self, name: str, weights: list[int], stored: Stored, rows: int) -> Work:
        """All products of `rows` rows, computed and checked once."""
        context = self._backend.context()
        x = {
            depth: self._backend.tensor(context, "F32", depth, rows)
            for depth in sorted({depth for _, depth in self._shapes})
        }
        products = [
            self._backend.product(context, weight, x[depth])
            for weight, (_, depth) in zip(weights, self._shapes, strict=True)
        ]
        work = self._backend.graph(context, products)
        self._backend.allocate(context, self._backend.plain)
        exact = {}
        for depth, tensor in x.items():
            values = np.random.default_rng(depth).standard_normal((rows, depth), np.float32)
            self._backend.write(tensor, values)
            exact[depth] = values @ stored[depth][0].T
        work()
        for product, (columns, depth) in zip(products, self._shapes, strict=True):
            self._check(name, product, exact[depth], columns)
        return work

    def _check(self, name: str, product: int, exact: np.ndarray, columns: int) -> None:
        """Refuse a library whose product is not that of the weights that were stored."""
        found = np.full((len(exact), columns), np.nan, np.float32)
        self._backend.read(product, found)
        expected = np.tile(exact, (1, columns // PERIOD))
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        if not error < LARGEST_ERROR:
            raise RequestError(f"ggml's {name} is wrong by {error:.2f} of its norm")
