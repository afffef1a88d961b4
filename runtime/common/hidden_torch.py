"""Keeps TVM's FFI from importing torch, which it does where torch is installed."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _HiddenTorch(MetaPathFinder):
    """Says that there is no torch while tvm_ffi is being imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torch" and _is_half_imported("tvm_ffi"):
            raise ModuleNotFoundError("torch is of no use here", name=fullname)
        return None


def hide_torch() -> None:
    """For processes of our own that need no torch: saves a second and 200 MiB.

    What imports torch by itself still gets it.
    """
    sys.meta_path.insert(0, _HiddenTorch())


def _is_half_imported(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not hasattr(module, "__all__")
