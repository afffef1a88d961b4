"""ggml's products with the matrices of some layers, in every layout that its CPU backend has."""

import ctypes
from dataclasses import dataclass

import numpy as np

from benchmarks.kernels.ggml_library import ContextSizes, GgmlLibrary, PoolSettings
from benchmarks.kernels.layer_stacks import KINDS, ROWS, matrices, work_name
from benchmarks.kernels.linear_cases import Work
from runtime.errors import RequestError

TYPES = {"F32": 0, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "BF16": 30}
"""Numbers of `enum ggml_type`, which files of models keep for ever."""
WEIGHTS_USAGE = 1
PLAIN = "plain"
PERIOD = 256
"""Rows of random numbers, repeated over a matrix."""
LARGEST_ERROR = 0.2
"""Of a product with weights of 4 bits beside the exact one, relative in norm: about 0.1."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A buffer type of the CPU backend: the plain one, or one that stores weights anew."""

    name: str
    buffer_type: int


class GgmlSide:
    """Works named by `work_name` with the layout behind it; one graph each."""

    def __init__(self, where: str, layers: int, threads: int) -> None:
        """Make the weights of every kind in every layout that the kind has on this CPU."""
        self.scales: dict[str, int] = {}
        self.works: dict[str, Work] = {}
        self._ggml, self._shapes = GgmlLibrary(where), matrices(layers)
        self._backend = self._ggml.call("backend_cpu_init")
        settings = PoolSettings()
        self._ggml.call("threadpool_params_init", ctypes.byref(settings), threads)
        pool = self._ggml.call("threadpool_new", ctypes.byref(settings))
        self._ggml.call("backend_cpu_set_n_threads", self._backend, threads)
        self._ggml.call("backend_cpu_set_threadpool", self._backend, pool)
        register = self._ggml.call("backend_cpu_reg")
        self._device = self._ggml.call("backend_reg_dev_get", register, 0)
        self._plain = self._ggml.call("backend_dev_buffer_type", self._device)
        layouts = [Layout(PLAIN, self._plain), *self._extra_layouts(register)]
        for kind in dict.fromkeys(peer for own in KINDS for peer in own.peers):
            for layout in layouts:
                if self._has(kind, layout):
                    self._add(kind, layout)

    def _extra_layouts(self, register: object) -> list[Layout]:
        """The buffer types that the backend offers beside the plain one."""
        name = b"ggml_backend_dev_get_extra_bufts"
        address = self._ggml.call("backend_reg_get_proc_address", register, name)
        if not address:
            return []
        listed = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
        found = listed(address)(self._device)
        layouts = []
        for buffer_type in found or ():
            if buffer_type is None:
                break
            title = self._ggml.call("backend_buft_name", buffer_type).decode()
            layouts.append(Layout(title, buffer_type))
        return layouts

    def _has(self, kind: str, layout: Layout) -> bool:
        """Whether every matrix of a kind has a kernel in a layout."""
        answers = []
        for columns, depth in sorted(set(self._shapes)):
            context = self._context()
            weight = self._tensor(context, kind, depth, columns)
            buffer = self._allocated(context, layout.buffer_type)
            inputs = self._context()
            product = self._product(inputs, weight, self._tensor(inputs, "F32", depth, 1))
            answers.append(self._ggml.call("backend_dev_supports_op", self._device, product))
            self._ggml.call("backend_buffer_free", buffer)
        return all(answers)

    def _add(self, kind: str, layout: Layout) -> None:
        """Store the weights of a kind and build a graph for each number of rows."""
        context = self._context()
        weights = [self._tensor(context, kind, depth, columns) for columns, depth in self._shapes]
        buffer = self._allocated(context, layout.buffer_type)
        self._ggml.call("backend_buffer_set_usage", buffer, WEIGHTS_USAGE)
        stored: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for weight, (columns, depth) in zip(weights, self._shapes, strict=True):
            if depth not in stored:
                stored[depth] = self._quantized(kind, depth)
            data = np.tile(stored[depth][1], (columns // PERIOD, 1))
            self._ggml.call("backend_tensor_set", weight, data.ctypes.data, 0, data.nbytes)
        for work, rows in ROWS.items():
            graph, x, y = self._graph(weights, rows)
            values = {
                depth: np.random.default_rng(depth).standard_normal((rows, depth), np.float32)
                for depth in x
            }
            for depth, tensor in x.items():
                data = values[depth]
                self._ggml.call("backend_tensor_set", tensor, data.ctypes.data, 0, data.nbytes)
            self._compute(graph)
            for product, (columns, depth) in zip(y, self._shapes, strict=True):
                exact = values[depth] @ stored[depth][0].T
                self._check(f"{kind}, {layout.name}", product, exact, columns)
            name = f"{work_name(work, kind)} {layout.name}"
            self.works[name] = lambda graph=graph: self._compute(graph)

    def _quantized(self, kind: str, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Random weights [PERIOD, depth], and the bytes of the same in a kind."""
        plain = np.random.default_rng(1).standard_normal((PERIOD, depth), np.float32)
        size = self._ggml.call("row_size", TYPES[kind], depth)
        coded = np.empty((PERIOD, size), np.uint8)
        places = plain.ctypes.data, coded.ctypes.data
        self._ggml.call("quantize_chunk", TYPES[kind], *places, 0, PERIOD, depth, None)
        return plain, coded

    def _graph(self, weights: list[object], rows: int) -> tuple[object, dict[int, object], list]:
        """A graph of all products, x by its depth, and the products in order."""
        context = self._context()
        x = {
            depth: self._tensor(context, "F32", depth, rows)
            for depth in sorted({depth for _, depth in self._shapes})
        }
        products = [
            self._product(context, weight, x[depth])
            for weight, (_, depth) in zip(weights, self._shapes, strict=True)
        ]
        graph = self._ggml.call("new_graph", context)
        for product in products:
            self._ggml.call("build_forward_expand", graph, product)
        self._allocated(context, self._plain)
        return graph, x, products

    def _check(self, what: str, product: object, exact: np.ndarray, columns: int) -> None:
        """Refuse a library whose product is not that of the weights that were stored."""
        found = np.empty((len(exact), columns), np.float32)
        self._ggml.call("backend_tensor_get", product, found.ctypes.data, 0, found.nbytes)
        expected = np.tile(exact, (1, columns // PERIOD))
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        if not error < LARGEST_ERROR:
            raise RequestError(f"ggml's product of {what} is wrong by {error:.2f} of its norm")

    def _compute(self, graph: object) -> None:
        status = self._ggml.call("backend_graph_compute", self._backend, graph)
        if status != 0:
            raise RequestError(f"ggml could not compute a graph: status {status}")

    def _context(self) -> object:
        """A context for the tensors and the graph of a stack."""
        each = self._ggml.call("tensor_overhead")
        graph = self._ggml.call("graph_overhead")
        size = each * (2 * len(self._shapes) + 8) + graph
        return self._ggml.call("init", ContextSizes(size, None, True))

    def _tensor(self, context: object, kind: str, depth: int, rows: int) -> object:
        return self._ggml.call("new_tensor_2d", context, TYPES[kind], depth, rows)

    def _product(self, context: object, weight: object, x: object) -> object:
        return self._ggml.call("mul_mat", context, weight, x)

    def _allocated(self, context: object, buffer_type: object) -> object:
        buffer = self._ggml.call("backend_alloc_ctx_tensors_from_buft", context, buffer_type)
        if not buffer:
            raise RequestError("ggml could not take the memory of a stack of matrices")
        return buffer
