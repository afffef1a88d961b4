"""The tables of `benchmarks.whole_model`."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.markdown import page, table

Row = dict[str, Any]
TEXT = """\
The same GGUF file and threads for all; llama.cpp with repacked weights, and with flash attention
where that is the faster there; transformers on torch eager in bfloat16. Tokens/s, medians of clean
samples (those whose threads did not wait for a CPU), in brackets how many were clean; `start` is
seconds from the start of a process to the first token after a prompt of 16. Times as fast: the
median over the turns in which every side was sampled once. Made by
`python -m benchmarks.whole_model`."""


def brief(row: Row) -> str:
    """A row in a line, for who waits."""
    if "left_out" in row:
        return row["left_out"]
    values = ", ".join(f"{side} {value:.4g}" for side, value in row["values"].items())
    return f"{values}; times as fast {_ratios(row)}"


def markdown(document: dict[str, Any]) -> str:
    """A table for each model, and how many times as fast ours is in all rows."""
    sides = document["asked"]["sides"]
    blocks: list[str | list[str]] = []
    for model, rows in document["rows"].items():
        blocks += [f"## {model}", _table(rows, sides), *_memory(rows, sides)]
    versions = [
        row.get("versions", {}) for own in document["rows"].values() for row in own.values()
    ]
    known = {name: found for each in versions for name, found in each.items()}
    return page(
        "Whole models compared with llama.cpp and transformers",
        document | {"versions": document["versions"] | known},
        TEXT,
        *_summary(document["rows"], sides),
        *blocks,
    )


def _table(rows: dict[str, Row], sides: list[str]) -> list[str]:
    peers = sides[1:]
    head = ("work", *sides, *(f"times {peer}" for peer in peers))
    lines = [
        (
            name,
            *(_value(row, side, name == "start") for side in sides),
            *(f"{row['ratios'][peer]:.2f}" if peer in row["ratios"] else "" for peer in peers),
        )
        for name, row in rows.items()
        if "left_out" not in row
    ]
    left = [
        (name, row["left_out"], *[""] * (len(head) - 2))
        for name, row in rows.items()
        if "left_out" in row
    ]
    return table(head, [*lines, *left], texts=1)


def _value(row: Row, side: str, seconds: bool) -> str:
    value = row["values"].get(side)
    if value is None or seconds:
        return "" if value is None else f"{value:.2f} s"
    return f"{value:.1f} ({row['clean'][side]}/{row['samples'][side]})"


def _memory(rows: dict[str, Row], sides: list[str]) -> Iterator[str]:
    found = rows.get("start", {}).get("memory")
    if found:
        parts = ", ".join(
            f"{side} {_mebibytes(found[side]['peak'])} "
            f"({_mebibytes(found[side]['anonymous'])} of them not of files)"
            for side in sides
            if side in found
        )
        yield f"Most memory that was resident with a prompt of 512, in MiB: {parts}."


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f}"


def _summary(rows: dict[str, dict[str, Row]], sides: list[str]) -> Iterator[str]:
    for peer in sides[1:]:
        ratios = {
            (model, name): row["ratios"][peer]
            for model, own in rows.items()
            for name, row in own.items()
            if peer in row.get("ratios", {}) and name != "start"
        }
        if ratios:
            least = min(ratios, key=lambda place: ratios[place])
            yield (
                f"Compared with {peer}: {median(ratios.values()):.2f} times as fast in the median "
                f"of {len(ratios)} rows, at least {ratios[least]:.2f} ({', '.join(least)})."
            )


def _ratios(row: Row) -> str:
    return ", ".join(f"{ratio:.2f} ({peer})" for peer, ratio in row["ratios"].items())
