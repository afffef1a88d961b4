"""Opening the CUDA driver's library, and its words for what fails."""

import ctypes
from typing import Any

from sala_compile.runtime.devices.cuda.calls import OPTIONAL, PROTOTYPES, DriverError
from sala_compile.runtime.errors import RequestError

LIBRARY = "libcuda.so.1"


def open_library() -> ctypes.CDLL:
    """The driver's library, every function typed; RequestError if there is none.

    A driver need not have what is in `OPTIONAL`.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise RequestError(
            f"there is no CUDA driver: {error}",
            where=LIBRARY,
            expected="a machine with an NVIDIA GPU and its driver",
            fix="install the driver, or run on the CPU: --device cpu",
        ) from None
    for name, types in PROTOTYPES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise RequestError(
                f"the CUDA driver has no {name}",
                where=LIBRARY,
                expected="a driver for CUDA 12 or newer",
                fix="update the driver",
            ) from None
        _type(function, types)
    for name, types in OPTIONAL.items():
        if hasattr(library, name):
            _type(getattr(library, name), types)
    return library


def _type(function: Any, types: list[type]) -> None:
    function.argtypes = types
    function.restype = ctypes.c_int


def initialise(library: ctypes.CDLL) -> None:
    """Start the driver; RequestError if it finds no GPU."""
    code = library.cuInit(0)
    if code:
        found = failure(library, "cuInit", code)
        raise RequestError(
            f"the CUDA driver finds no GPU that it can use: {found.name}",
            where=LIBRARY,
            expected="a GPU that this process can see, and a driver of the kernel module's version",
            fix="see what nvidia-smi reports, or run on the CPU: --device cpu",
        )


def failure(library: Any, name: str, code: int) -> DriverError:
    """The error with the driver's own words for it."""
    texts: list[str] = []
    for function in ("cuGetErrorName", "cuGetErrorString"):
        text = ctypes.c_char_p()
        getattr(library, function)(code, ctypes.byref(text))
        texts.append((text.value or b"unknown error").decode(errors="replace"))
    return DriverError(name, code, *texts)
