"""ggml's libraries through ctypes: found, opened, and the functions that a benchmark calls."""

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sala_compile.runtime.errors import RequestError

Pointer, Size, Number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
LogFunction = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, Pointer)
MOST_THREADS = 512


class ContextSizes(ctypes.Structure):
    """ggml_init_params: memory for the descriptions of tensors, not for their data."""

    _fields_ = (("size", Size), ("memory", Pointer), ("no_alloc", ctypes.c_bool))


class PoolSettings(ctypes.Structure):
    """ggml_threadpool_params."""

    _fields_ = (
        ("cpus", ctypes.c_bool * MOST_THREADS),
        ("threads", ctypes.c_int),
        ("priority", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


BASE = {
    "ggml_init": (Pointer, (ContextSizes,)),
    "ggml_tensor_overhead": (Size, ()),
    "ggml_graph_overhead": (Size, ()),
    "ggml_version": (ctypes.c_char_p, ()),
    "ggml_log_set": (None, (LogFunction, Pointer)),
    "ggml_new_tensor_2d": (Pointer, (Pointer, ctypes.c_int, Number, Number)),
    "ggml_mul_mat": (Pointer, (Pointer, Pointer, Pointer)),
    "ggml_new_graph": (Pointer, (Pointer,)),
    "ggml_build_forward_expand": (None, (Pointer, Pointer)),
    "ggml_row_size": (Size, (ctypes.c_int, Number)),
    "ggml_quantize_chunk": (
        Size,
        (ctypes.c_int, Pointer, Pointer, Number, Number, Number, Pointer),
    ),
    "ggml_threadpool_params_init": (None, (Pointer, ctypes.c_int)),
    "ggml_backend_alloc_ctx_tensors_from_buft": (Pointer, (Pointer, Pointer)),
    "ggml_backend_buffer_free": (None, (Pointer,)),
    "ggml_backend_buffer_set_usage": (None, (Pointer, ctypes.c_int)),
    "ggml_backend_buft_name": (ctypes.c_char_p, (Pointer,)),
    "ggml_backend_dev_buffer_type": (Pointer, (Pointer,)),
    "ggml_backend_dev_supports_op": (ctypes.c_bool, (Pointer, Pointer)),
    "ggml_backend_graph_compute": (ctypes.c_int, (Pointer, Pointer)),
    "ggml_backend_reg_dev_get": (Pointer, (Pointer, Size)),
    "ggml_backend_reg_get_proc_address": (Pointer, (Pointer, ctypes.c_char_p)),
    "ggml_backend_tensor_get": (None, (Pointer, Pointer, Size, Size)),
    "ggml_backend_tensor_set": (None, (Pointer, Pointer, Size, Size)),
}
CPU = {
    "ggml_backend_cpu_init": (Pointer, ()),
    "ggml_backend_cpu_reg": (Pointer, ()),
    "ggml_backend_cpu_set_n_threads": (None, (Pointer, ctypes.c_int)),
    "ggml_backend_cpu_set_threadpool": (None, (Pointer, Pointer)),
    "ggml_threadpool_new": (Pointer, (Pointer,)),
}
"""Result and arguments of the functions of libggml-base and libggml-cpu."""


class GgmlLibrary:
    """The two libraries; `call` calls a function of theirs by its name."""

    def __init__(self, where: str) -> None:
        """Open the libraries of `find_libraries`; RequestError where a function is missing."""
        base, cpu = find_libraries(where)
        self._functions = {}
        for path, signatures in ((base, BASE), (cpu, CPU)):
            library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            for name, (result, arguments) in signatures.items():
                function = getattr(library, name, None)
                if function is None:
                    raise RequestError(
                        f"{path.name} has no {name}",
                        where=str(path),
                        expected="ggml of llama-cpp-python 0.3.36 or alike",
                    )
                function.restype, function.argtypes = result, arguments
                self._functions[name] = function
        self._silence = LogFunction(lambda *_: None)  # kept, since the library calls it
        self.call("log_set", self._silence, None)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function without its `ggml_`; ctypes checks the arguments."""
        return self._functions[f"ggml_{name}"](*arguments)


def find_libraries(where: str) -> tuple[Path, Path]:
    """libggml-base and libggml-cpu in a folder, or in the folder of an installed package."""
    folder = Path(where)
    if not folder.is_dir():
        spec = find_spec(where) if where.isidentifier() else None
        folder = Path(spec.origin).parent / "lib" if spec and spec.origin else folder
    base, cpu = (
        next(iter(sorted(folder.glob(f"libggml-{part}.so*"))), None) for part in ("base", "cpu")
    )
    if base is None or cpu is None:
        raise RequestError(
            f"no ggml in {where}",
            where=str(folder),
            expected="a folder or an installed package with libggml-base.so and libggml-cpu.so",
            fix="pip install llama-cpp-python (built on this machine), and name a folder of the "
            "libraries or the package with --ggml",
        )
    return base, cpu
