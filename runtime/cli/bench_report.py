"""What sala-bench reports: one document, and tables of it."""

import json
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from sala_compile.runtime.artifact.processor import processor_name
from sala_compile.runtime.bench.ceiling_probe import Ceilings
from sala_compile.runtime.bench.measure import Bench, Row
from sala_compile.runtime.bench.profile import KernelTime, Profile
from sala_compile.runtime.cli.common import table
from sala_compile.runtime.common.units import format_tokens

GIGA = 1e9


def bench_document(bench: Bench) -> dict[str, Any]:
    """Everything but the profile as JSON; rates in bytes, operations and tokens per second."""
    info, ceilings = bench.model.info(), bench.ceilings
    manifest = bench.model.artifact.manifest
    return {
        "artifact": info["path"],
        "model": {"family": manifest.model.family, "digest": manifest.model.digest},
        "target": bench.target,
        "dtype": info["dtype"],
        "threads": info["threads"],
        "chunk": info["chunk"],
        "processor": processor_name(),
        "versions": manifest.versions,
        "ceilings": {
            "read_bytes_per_second": ceilings.bandwidth,
            "operations_per_second": ceilings.arithmetic,
            "peak_operations_per_second": ceilings.peak,
            "clean_samples": ceilings.read.clean,
            "samples": ceilings.read.total,
        },
        "rows": [_row(row, ceilings) for row in bench.rows],
    }


def _row(row: Row, ceilings: Ceilings) -> dict[str, Any]:
    moved, computed = row.cost.bytes / row.seconds, row.cost.operations / row.seconds
    return {
        "work": row.work,
        "length": row.length,
        "batch": row.batch,
        "tokens_per_second": row.rate,
        "seconds": row.seconds,
        "bytes_per_token": row.cost.bytes / row.tokens,
        "operations_per_token": row.cost.operations / row.tokens,
        "bandwidth_fraction": moved / ceilings.bandwidth,
        "peak_fraction": computed / ceilings.peak,
        "clean_samples": row.clean,
        "samples": row.total,
    }


def profile_document(profile: Profile, ceilings: Ceilings) -> dict[str, Any]:
    """The kernels by their time, and the part of each step's time that is outside of kernels."""
    kernels = profile.kernels()
    whole: dict[str, float] = {}
    for each in kernels:
        whole[each.work] = whole.get(each.work, 0.0) + each.seconds
    return {
        "outside_of_kernels": profile.outside(),
        "kernels": [_kernel(each, whole[each.work], ceilings) for each in kernels],
    }


def _kernel(each: KernelTime, whole: float, ceilings: Ceilings) -> dict[str, Any]:
    return asdict(each) | {
        "seconds_per_step": each.seconds / each.turns,
        "share": each.seconds / whole,
        "bandwidth_fraction": each.bytes / each.seconds / ceilings.bandwidth,
        "peak_fraction": each.operations / each.seconds / ceilings.peak,
    }


def compact(document: dict[str, Any]) -> str:
    """A JSON document on one line."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"


def views(document: dict[str, Any]) -> list[RenderableType]:
    """The document for people."""
    ceilings = document["ceilings"]
    arithmetic = ", ".join(
        f"{rate / GIGA:.0f} G operations/s of {name}"
        for name, rate in ceilings["operations_per_second"].items()
    )
    shown: list[RenderableType] = [
        f"{document['artifact']}, target {document['target']}, {document['dtype']}, "
        f"{document['threads']} threads, chunk {document['chunk']}\n{document['processor']}\n"
        f"ceilings: memory is read at {ceilings['read_bytes_per_second'] / GIGA:.1f} GB/s, "
        f"{arithmetic} ({ceilings['clean_samples']}/{ceilings['samples']} clean)",
        _rate_table(document["rows"]),
    ]
    if found := document.get("profile"):
        shown.append(_kernel_table(found["kernels"]))
        outside = ", ".join(
            f"{part:.1%} of {work}" for work, part in found["outside_of_kernels"].items()
        )
        shown.append(f"outside of kernels: {outside}")
    return shown


def _rate_table(rows: list[dict[str, Any]]) -> Table:
    numbers = ("length", "batch", "tokens/s", "MB/token", "M op/token", "of read", "of peak")
    made = table("\nrates", "work", *numbers, "clean", numbers=(*numbers, "clean"))
    for row in rows:
        made.add_row(
            row["work"],
            format_tokens(row["length"]),
            str(row["batch"]),
            f"{row['tokens_per_second']:.2f}",
            f"{row['bytes_per_token'] / 1e6:.4g}",
            f"{row['operations_per_token'] / 1e6:.4g}",
            f"{row['bandwidth_fraction']:.2f}",
            f"{row['peak_fraction']:.2f}",
            f"{row['clean_samples']}/{row['samples']}",
        )
    return made


def _kernel_table(kernels: list[dict[str, Any]]) -> Table:
    numbers = ("calls", "ms/step", "share", "of read", "of peak")
    made = table("\nkernels", "work", "kernel", *numbers, numbers=numbers)
    for each in kernels:
        made.add_row(
            each["work"],
            each["kernel"],
            f"{each['calls'] / each['turns']:.3g}",
            f"{each['seconds_per_step'] * 1e3:.3f}",
            f"{each['share']:.1%}",
            f"{each['bandwidth_fraction']:.2f}",
            f"{each['peak_fraction']:.2f}",
        )
    return made
