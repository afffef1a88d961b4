"""The functions of the CUDA driver that are called, its numbers, and its errors."""

import ctypes
from enum import IntEnum

from sala_compile.runtime.errors import DeviceError

_P, _I, _U, _S, _D = (
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_size_t,
    ctypes.c_uint64,
)

PROTOTYPES: dict[str, list[type]] = {
    "cuInit": [_U],
    "cuGetErrorName": [_I, _P],
    "cuGetErrorString": [_I, _P],
    "cuDriverGetVersion": [_P],
    "cuDeviceGetCount": [_P],
    "cuDeviceGet": [_P, _I],
    "cuDeviceGetName": [_P, _I, _I],
    "cuDeviceTotalMem_v2": [_P, _I],
    "cuDeviceGetAttribute": [_P, _I, _I],
    "cuDevicePrimaryCtxRetain": [_P, _I],
    "cuDevicePrimaryCtxRelease_v2": [_I],
    "cuCtxGetCurrent": [_P],
    "cuCtxSetCurrent": [_P],
    "cuMemGetInfo_v2": [_P, _P],
    "cuMemAlloc_v2": [_P, _S],
    "cuMemFree_v2": [_D],
    "cuMemHostAlloc": [_P, _S, _U],
    "cuMemFreeHost": [_P],
    "cuMemcpyHtoDAsync_v2": [_D, _P, _S, _P],
    "cuMemcpyDtoHAsync_v2": [_P, _D, _S, _P],
    "cuMemcpyDtoDAsync_v2": [_D, _D, _S, _P],
    "cuMemsetD8Async": [_D, ctypes.c_ubyte, _S, _P],
    "cuStreamCreate": [_P, _U],
    "cuStreamDestroy_v2": [_P],
    "cuStreamSynchronize": [_P],
    "cuEventCreate": [_P, _U],
    "cuEventDestroy_v2": [_P],
    "cuEventRecord": [_P, _P],
    "cuEventSynchronize": [_P],
    "cuModuleLoadData": [_P, ctypes.c_char_p],
    "cuModuleUnload": [_P],
    "cuModuleGetFunction": [_P, _P, ctypes.c_char_p],
    "cuFuncGetAttribute": [_P, _I, _P],
    "cuFuncSetAttribute": [_P, _I, _I],
    "cuLaunchKernel": [_P, *[_U] * 7, _P, _P, _P],
    "cuStreamBeginCapture_v2": [_P, _I],
    "cuStreamEndCapture": [_P, _P],
    "cuGraphInstantiateWithFlags": [_P, _P, _D],
    "cuGraphDestroy": [_P],
    "cuGraphLaunch": [_P, _P],
    "cuGraphExecDestroy": [_P],
}
"""Argument types by name; all return an error code, 0 for none."""

OPTIONAL: dict[str, list[type]] = {"cuFuncLoad": [_P]}
"""Calls that older drivers do not have: cuFuncLoad came with CUDA 12.4."""


class Attribute(IntEnum):
    """The attributes of a GPU that are queried."""

    CAPABILITY_MAJOR = 75
    CAPABILITY_MINOR = 76
    SHARED_BYTES_OPTIN = 97


class Refusal(IntEnum):
    """Error codes that are distinguished."""

    OUT_OF_MEMORY = 2
    NO_BINARY = 209
    INVALID_IMAGE = 200
    UNSUPPORTED_PTX = 222


class DriverError(DeviceError):
    """An error code of the driver; `call` returned it."""

    def __init__(self, call: str, code: int, name: str, text: str) -> None:
        super().__init__(
            f"the GPU failed: {name}, {text}",
            where=call,
            fix="load the model again; sala-inspect --verify checks whether its kernels run right",
        )
        self.call = call
        self.code = code
        self.name = name
