"""Tests that compare with torch; without torch they are left out, and the report says so."""

from importlib.util import find_spec

TORCH = find_spec("torch") is not None
collect_ignore_glob = [] if TORCH else ["test_*.py"]


def pytest_report_header() -> str:
    """Tell whether the tests of this folder take part."""
    return "torch: installed" if TORCH else "torch: absent, tests/torch_only is left out"
