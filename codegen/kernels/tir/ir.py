"""TVM as the kernels write it, imported when the first kernel is built.

Rules and specs, which choose kernels, are read without TVM on a machine that has a GPU and
Triton only. Untyped: TVM's annotations do not accept the Python numbers that it takes.
"""

from importlib import import_module
from typing import Any


class _Lazy:
    """A module that is imported at the first use of a name in it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


T: Any = _Lazy("tvm.tirx.script.builder")
tirx: Any = _Lazy("tvm.tirx")
ir_builder: Any = _Lazy("tvm.script.ir_builder")
