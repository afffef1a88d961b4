"""TVM's IR builder as `T`, untyped: its annotations do not accept the Python numbers it takes."""

from typing import Any

from tvm.tirx.script import builder

T: Any = builder
