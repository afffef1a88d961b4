"""The results of a run on a GPU as tables for people, each beside its ceiling or its peer.

python -m benchmarks.gpu.report build/gpu/results
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.roofline import Ceilings, decode_step
from benchmarks.gpu.sizes import Sizes
from runtime.units import format_bytes, format_tokens

PARTS = ("environment", "golden", "kernel-checks", "peers", "model-int4", "model-bf16", "dense")
WEIGHT_BITS = {"model-int4": 4.125, "model-bf16": 16.0}


def read_parts(folder: Path) -> dict[str, Any]:
    """The documents that are there, by the name of the part."""
    found = {name: folder / f"{name}.json" for name in PARTS}
    return {name: json.loads(path.read_text()) for name, path in found.items() if path.exists()}


def render(parts: dict[str, Any]) -> str:
    """Markdown; parts that are missing are named."""
    lines = ["# On a GPU", "", *_environment(parts.get("environment"))]
    lines += _checks(parts)
    lines += _models(parts)
    lines += _peers(parts.get("peers"))
    missing = [name for name in PARTS if name not in parts]
    if missing:
        lines += ["", f"Not measured in this run: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, numbers to the right."""
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _environment(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return ["The device was not recorded."]
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    memory = format_bytes(found["memory_bytes"])
    driver = found["driver_cuda"]
    return [
        f"{found['date']}, {found['device']} ({found['multiprocessors']} multiprocessors, "
        f"{memory}), driver of CUDA {driver // 1000}.{driver % 1000 // 10}; {versions}."
    ]


def _checks(parts: dict[str, Any]) -> list[str]:
    lines = []
    if golden := parts.get("golden"):
        rows = [
            (
                row["checkpoint"],
                row["dtype"],
                f"{row['largest_difference']:.2e}",
                f"{row['allowed']:.0e}",
                row["greedy"],
                "yes" if row["passed"] else "NO",
            )
            for row in golden["rows"]
        ]
        head = ("golden checkpoint", "dtype", "largest difference", "allowed", "greedy", "passed")
        lines += ["", *table(head, rows)]
    if checks := parts.get("kernel-checks"):
        lines += [
            "",
            f"Kernels against float64 on the device: {checks['passed']} passed, "
            f"{checks['failed']} failed.",
        ]
    return lines


def _models(parts: dict[str, Any]) -> list[str]:
    measured = [name for name in ("model-int4", "model-bf16") if name in parts]
    if not measured:
        return []
    dense = {row["tokens"]: row for row in parts.get("dense", {}).get("rows", ())}
    lines: list[str] = []
    for name in measured:
        document = parts[name]
        lines += ["", f"Whole model, {document['artifact']}, chunks of {document['chunk']} tokens:"]
        rows = [_model_row(name, row, dense, parts.get("peers")) for row in document["rows"]]
        head = (
            "context",
            "time to first token s",
            "tokens/s",
            "dense 8B s",
            "times faster",
            "decode ms",
            "bandwidth floor ms",
            "times the floor",
        )
        lines += ["", *table(head, rows)]
        planned, used = document["memory"]["total_bytes"], document["device_used_bytes"]
        lines += [
            "",
            f"Device memory: {format_bytes(planned)} planned, {format_bytes(used)} taken.",
        ]
        lines += _kernels(document["rows"])
    return lines


def _kernels(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Time by kernel family at the marks where it was taken, beside its floor."""
    found = [
        (
            f"{kernel['family']}, {kernel['phase']}",
            format_tokens(int(row["tokens"])),
            f"{kernel['steps']:.0f}",
            f"{kernel['seconds'] * 1e3:.3f}",
            f"{kernel['floor_seconds'] * 1e3:.3f}",
            f"{kernel['floor_seconds'] / kernel['seconds']:.2f}",
            kernel["bound"],
        )
        for row in rows
        for kernel in row.get("kernels", ())
    ]
    head = ("kernels of one step", "context", "launched", "ms", "floor ms", "fraction", "bound by")
    return ["", *table(head, found)] if found else []


def _model_row(
    name: str, row: dict[str, float], dense: dict[int, Any], peers: dict[str, Any] | None
) -> tuple[str, ...]:
    tokens, seconds = int(row["tokens"]), row["prefill_seconds"]
    beside = dense.get(tokens)
    decode = row["decode_seconds"] * 1e3
    floor = _floor(name, tokens, peers)
    return (
        format_tokens(tokens),
        f"{seconds:.2f}",
        f"{tokens / seconds:.0f}",
        f"{beside['prefill_seconds']:.2f}" if beside else "",
        f"{beside['prefill_seconds'] / seconds:.2f}" if beside else "",
        f"{decode:.2f}",
        f"{floor * 1e3:.2f}" if floor else "",
        f"{decode / floor / 1e3:.2f}" if floor else "",
    )


def _floor(name: str, tokens: int, peers: dict[str, Any] | None) -> float | None:
    """Seconds that the bytes of a decode step take at the measured bandwidth."""
    if peers is None:
        return None
    cost = decode_step(Sizes.released(), tokens, 1, weight_bits=WEIGHT_BITS[name])
    return cost.seconds(Ceilings(**peers["ceilings"]))


def _peers(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    ceilings = found["ceilings"]
    rows = [(name, f"{seconds * 1e6:.1f}") for name, seconds in found["seconds"].items()]
    return [
        "",
        f"Ceilings: {ceilings['operations'] / 1e12:.0f} TFLOP/s of bf16 products, "
        f"{ceilings['bytes'] / 1e12:.2f} TB/s.",
        "",
        *table(("peer", "us"), rows),
    ]


def main() -> None:
    """Print the report of a folder of results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    sys.stdout.write(render(read_parts(parser.parse_args().results)))


if __name__ == "__main__":
    main()
