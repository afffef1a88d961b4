"""Every program in `benchmarks` finds what it imports; most of them run only by hand."""

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("name", MODULES)
def test_imports(name: str) -> None:
    if name.endswith("llama_cpp_side"):  # it runs in an environment of its own
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    assert hasattr(import_module(name), "__doc__")
