"""What reports of benchmarks are made from and read by: a machine, and rows of tables."""

MACHINE = {
    "date": "2026-01-01 00:00 UTC",
    "processor": "a processor",
    "cpus": 2,
    "threads": 2,
    "real_time": False,
    "versions": {"numpy": "2"},
}
"""The head of a record."""


def cells(text: str, beginning: str) -> list[list[str]]:
    """The cells of the rows that begin so, without their marks."""
    lines = [line for line in text.splitlines() if line.startswith(beginning)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
