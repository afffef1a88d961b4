"""ggml's CPU backend: threads, buffer types, tensors and graphs, as a benchmark needs them."""

import ctypes
from dataclasses import dataclass

import numpy as np

from benchmarks.kernels.ggml_library import ContextSizes, GgmlLibrary, PoolSettings
from benchmarks.kernels.linear_cases import Work
from sala_compile.runtime.errors import RequestError

TYPES = {
    **{"F32": 0, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8},
    **{"Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "BF16": 30},
}
"""Numbers of `enum ggml_type`, which files of models keep for ever."""
PLAIN = "plain"
WEIGHTS_USAGE = 1
MOST_TENSORS = 512


@dataclass(frozen=True, slots=True)
class Layout:
    """A buffer type of the CPU backend: the plain one, or one that stores weights anew."""

    name: str
    buffer_type: int


class GgmlBackend:
    """The CPU backend with threads of its own; tensors and contexts are addresses."""

    def __init__(self, library: GgmlLibrary, threads: int) -> None:
        """Start the backend and list its layouts, the plain one first."""
        self._call = library.call
        self._backend = self._call("backend_cpu_init")
        settings = PoolSettings()
        self._call("threadpool_params_init", ctypes.byref(settings), threads)
        pool = self._call("threadpool_new", ctypes.byref(settings))
        self._call("backend_cpu_set_n_threads", self._backend, threads)
        self._call("backend_cpu_set_threadpool", self._backend, pool)
        register = self._call("backend_cpu_reg")
        self._device = self._call("backend_reg_dev_get", register, 0)
        self.plain = Layout(PLAIN, self._call("backend_dev_buffer_type", self._device))
        self.layouts = [self.plain, *self._extra_layouts(register)]

    def _extra_layouts(self, register: int) -> list[Layout]:
        """The buffer types that the backend offers beside the plain one."""
        name = b"ggml_backend_dev_get_extra_bufts"
        address = self._call("backend_reg_get_proc_address", register, name)
        if not address:
            return []
        listed = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(address)
        layouts = []
        for buffer_type in listed(self._device) or ():
            if buffer_type is None:
                break
            title = self._call("backend_buft_name", buffer_type).decode()
            layouts.append(Layout(title, buffer_type))
        return layouts

    def context(self) -> int:
        """Room for the descriptions of tensors and one graph."""
        size = self._call("tensor_overhead") * MOST_TENSORS + self._call("graph_overhead")
        return self._call("init", ContextSizes(size, None, True))

    def tensor(self, context: int, kind: str, depth: int, rows: int) -> int:
        """A tensor [rows, depth] without memory."""
        return self._call("new_tensor_2d", context, TYPES[kind], depth, rows)

    def product(self, context: int, weight: int, x: int) -> int:
        """x times the transposed weight."""
        return self._call("mul_mat", context, weight, x)

    def allocate(self, context: int, layout: Layout, *, weights: bool = False) -> int:
        """Give all tensors of a context memory; the buffer."""
        buffer = self._call("backend_alloc_ctx_tensors_from_buft", context, layout.buffer_type)
        if not buffer:
            raise RequestError("ggml could not take the memory of a stack of matrices")
        if weights:
            self._call("backend_buffer_set_usage", buffer, WEIGHTS_USAGE)
        return buffer

    def supports(self, kind: str, columns: int, depth: int, layout: Layout) -> bool:
        """Whether there is a kernel for a matrix in a layout."""
        context, inputs = self.context(), self.context()
        weight = self.tensor(context, kind, depth, columns)
        buffer = self.allocate(context, layout)
        product = self.product(inputs, weight, self.tensor(inputs, "F32", depth, 1))
        answer = self._call("backend_dev_supports_op", self._device, product)
        self._call("backend_buffer_free", buffer)
        return answer

    def write(self, tensor: int, data: np.ndarray) -> None:
        """Store a whole tensor as its layout has it."""
        self._call("backend_tensor_set", tensor, data.ctypes.data, 0, data.nbytes)

    def read(self, tensor: int, data: np.ndarray) -> None:
        """Fetch a whole tensor of a plain layout."""
        self._call("backend_tensor_get", tensor, data.ctypes.data, 0, data.nbytes)

    def quantized(self, kind: str, values: np.ndarray) -> np.ndarray:
        """The bytes of float32 [rows, depth] in a kind."""
        rows, depth = values.shape
        coded = np.empty((rows, self._call("row_size", TYPES[kind], depth)), np.uint8)
        places = values.ctypes.data, coded.ctypes.data
        self._call("quantize_chunk", TYPES[kind], *places, 0, rows, depth, None)
        return coded

    def graph(self, context: int, products: list[int]) -> Work:
        """A work that computes products of a context, one behind the other."""
        graph = self._call("new_graph", context)
        for product in products:
            self._call("build_forward_expand", graph, product)

        def work() -> None:
            status = self._call("backend_graph_compute", self._backend, graph)
            if status != 0:
                raise RequestError(f"ggml could not compute a graph: status {status}")

        return work
