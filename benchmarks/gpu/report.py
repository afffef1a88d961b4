"""The results of a run on a GPU as tables for people, each beside its ceiling or its peer.

python -m benchmarks.gpu.report build/gpu/results
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.results import read_results
from benchmarks.gpu.roofline import Ceilings, decode_step
from benchmarks.gpu.sizes import Sizes
from benchmarks.markdown import table
from sala_compile.runtime.common.units import format_bytes, format_tokens

PARTS = (
    *("environment", "racecheck", "kernels", "golden"),
    *("model-int4", "peers", "model-bf16", "dense", "fla"),
)
WEIGHT_BITS = {"model-int4": 4.125, "model-bf16": 16.0}
Row = dict[str, Any]


def render(parts: dict[str, Any]) -> str:
    """Markdown; parts that are missing or not complete are named."""
    lines = ["# On a GPU", "", *_environment(parts.get("environment"))]
    lines += [*_races(parts.get("racecheck")), *_tests(parts.get("kernels"))]
    lines += [*_golden(parts.get("golden")), *_models(parts), *_peers(parts)]
    for name in PARTS:
        if error := parts.get(name, {}).get("error"):
            lines += ["", f"{name} ended with {error}"]
    for word, chosen in (
        ("Not measured", [name for name in PARTS if not parts.get(name, {}).get("rows")]),
        ("Not complete", [name for name in PARTS if _is_partial(parts.get(name, {}))]),
    ):
        if chosen:
            lines += ["", f"{word} in this run: {', '.join(chosen)}."]
    return "\n".join(lines) + "\n"


def _is_partial(document: Row) -> bool:
    return bool(document.get("rows")) and not document.get("complete")


def _row(document: Row | None, name: str) -> Row | None:
    """The row of a name, if it was measured."""
    rows = (document or {}).get("rows", ())
    return next((row for row in rows if row["name"] == name and "error" not in row), None)


def _environment(document: Row | None) -> list[str]:
    found = _row(document, "device")
    if found is None:
        return ["The device was not recorded."]
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    memory = format_bytes(found["memory_bytes"])
    driver = found["driver_cuda"]
    lines = [
        f"{found['date']}, {found['device']} ({found['multiprocessors']} multiprocessors, "
        f"{memory}), driver of CUDA {driver // 1000}.{driver % 1000 // 10}; {versions}."
    ]
    ceilings = _row(document, "ceilings")
    if ceilings is not None:
        lines += [
            "",
            f"Ceilings: {ceilings['operations'] / 1e12:.0f} TFLOP/s of bf16 products, "
            f"{ceilings['bytes'] / 1e12:.2f} TB/s.",
        ]
    return lines


def _races(document: Row | None) -> list[str]:
    lines = []
    for row in (document or {}).get("rows", ()):
        if "left_out" in row:
            told = f"left out, {row['left_out']}"
        elif "hazards" not in row:
            told = row.get("error", "nothing known")
        else:
            told = f"{row['hazards']} hazards" + ("" if row["ended"] else ", not to the end")
        lines += ["", f"Races in {row['name']}: {told}."]
    return lines


def _tests(document: Row | None) -> list[str]:
    rows = (document or {}).get("rows", ())
    if not rows:
        return []
    failed = [row["name"] for row in rows if not row["passed"]]
    lines = [
        "",
        f"Kernels against float64 on the device: {len(rows) - len(failed)} passed, "
        f"{len(failed)} failed.",
    ]
    return lines + [f"- FAILED {name}" for name in failed]


def _golden(document: Row | None) -> list[str]:
    rows = (document or {}).get("rows", ())
    lines = [f"- FAILED {row['name']}: {row['error']}" for row in rows if "error" in row]
    head = ("golden checkpoint", "dtype", "largest difference", "allowed", "greedy", "passed")
    known = [
        (
            row["checkpoint"],
            row["dtype"],
            f"{row['largest_difference']:.2e}",
            f"{row['allowed']:.0e}",
            row["greedy"],
            "yes" if row["passed"] else "NO",
        )
        for row in rows
        if "error" not in row
    ]
    return ["", *lines, *(table(head, known, texts=1) if known else ())] if rows else []


def _models(parts: Row) -> list[str]:
    dense = {row["tokens"]: row for row in parts.get("dense", {}).get("rows", ())}
    ceilings = _row(parts.get("environment"), "ceilings")
    lines: list[str] = []
    for name in WEIGHT_BITS:
        document = parts.get(name, {})
        if not document.get("rows"):
            continue
        lines += ["", f"Whole model, {document['artifact']}, chunks of {document['chunk']} tokens:"]
        lines += ["", *table(PREFILL, _prefill(document["rows"], dense), texts=1)]
        decode = _decode(name, document["rows"], ceilings)
        lines += ["", *table(DECODE, decode, texts=1)] if decode else []
        planned, used = document["memory"]["total_bytes"], document["device_used_bytes"]
        lines += [
            "",
            f"Device memory: {format_bytes(planned)} planned, {format_bytes(used)} taken.",
        ]
        lines += _kernels(document["rows"])
    return lines


PREFILL = ("context", "time to first token s", "tokens/s", "dense 8B s", "times faster")


def _prefill(rows: Sequence[Row], dense: dict[int, Row]) -> list[tuple[str, ...]]:
    found = []
    for row in rows:
        if not row["name"].startswith("prefill"):
            continue
        tokens, seconds = row["tokens"], row["seconds"]
        beside = dense.get(tokens)
        found.append(
            (
                format_tokens(tokens),
                f"{seconds:.2f}",
                f"{tokens / seconds:.0f}",
                f"{beside['prefill_seconds']:.2f}" if beside else "",
                f"{beside['prefill_seconds'] / seconds:.2f}" if beside else "",
            )
        )
    return found


DECODE = (
    *("context", "decode ms", "least ms", "by append ms"),
    *("bandwidth floor ms", "times the floor"),
)


def _decode(name: str, rows: Sequence[Row], ceilings: Row | None) -> list[tuple[str, ...]]:
    """Tokens chosen and fed on the device, beside calls that fetch logits, and the floor."""
    found = []
    for row in rows:
        if not row["name"].startswith("decode"):
            continue
        seconds = row["seconds"]
        floor = _floor(name, row["tokens"], ceilings)
        found.append(
            (
                format_tokens(row["tokens"]),
                f"{seconds * 1e3:.2f}",
                f"{row['least_seconds'] * 1e3:.2f}",
                f"{row['append_seconds'] * 1e3:.2f}",
                f"{floor * 1e3:.2f}" if floor else "",
                f"{seconds / floor:.2f}" if floor else "",
            )
        )
    return found


def _floor(name: str, tokens: int, ceilings: Row | None) -> float | None:
    """Seconds that the bytes of a decode step take at the measured bandwidth."""
    if ceilings is None:
        return None
    cost = decode_step(Sizes.released(), tokens, 1, weight_bits=WEIGHT_BITS[name])
    return cost.seconds(Ceilings(*(ceilings[n] for n in ("operations", "bytes", "exponentials"))))


KERNELS = (
    *("kernels of one step", "context", "launched", "ms", "model ms", "floor ms"),
    *("fraction of the floor", "bound by"),
)


def _kernels(rows: Sequence[Row]) -> list[str]:
    """Time by kernel family at the marks where it was taken, beside its model and its floor.

    The model's time is `model_seconds` of a kernel, where it has one.
    """
    found = [
        (
            f"{kernel['family']}, {kernel['phase']}",
            format_tokens(row["tokens"]),
            f"{kernel['steps']:.0f}",
            f"{kernel['seconds'] * 1e3:.3f}",
            f"{kernel['model_seconds'] * 1e3:.3f}" if "model_seconds" in kernel else "",
            f"{kernel['floor_seconds'] * 1e3:.3f}",
            f"{kernel['floor_seconds'] / kernel['seconds']:.2f}",
            kernel["bound"],
        )
        for row in rows
        for kernel in row.get("kernels", ())
    ]
    return ["", *table(KERNELS, found, texts=1)] if found else []


def _peers(parts: Row) -> list[str]:
    rows = [
        (row["name"], f"{row['seconds'] * 1e6:.1f}")
        for part in ("peers", "fla")
        for row in parts.get(part, {}).get("rows", ())
        if "seconds" in row
    ]
    return ["", *table(("peer", "us"), rows, texts=1)] if rows else []


def main() -> None:
    """Print the report of a folder of results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    sys.stdout.write(render(read_results(parser.parse_args().results)))


if __name__ == "__main__":
    main()
