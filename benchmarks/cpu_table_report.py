"""The results of `benchmarks.cpu_table`: JSON, and a table for each number of threads."""

from itertools import groupby
from typing import Any

from benchmarks.markdown import page, table
from sala_compile.runtime.common.units import format_tokens


def markdown(document: dict[str, Any]) -> str:
    """The tables, runs sorted by threads and contexts."""
    tables: list[str | list[str]] = []
    for threads, runs in groupby(document["runs"], key=lambda run: run["threads"]):
        tables.append(f"## {threads} thread{'s' * (threads > 1)}, tokens/s")
        tables.append(_rates(list(runs)))
    return page(
        "The released shape by threads, contexts and batches",
        document,
        f"{document['layers']} layers of the released shape, random {document['quantize']} "
        "weights, keys and values in bfloat16. Contexts are filled with random keys, values and "
        "states, not read as texts; the sequences of a batch have unequal lengths. Prefill is a "
        "chunk of 512 tokens behind the context. In brackets: of the bandwidth that a plain read "
        "reaches directly before and behind each sample, for prefill of the measured peak of "
        "arithmetic (of integers in pairs of 16 bits where that is the highest) and of the peak "
        "that bf16 has: of its own instructions, or of multiply-adds of floats where there are "
        "none; medians over the samples that are clean: our threads did not wait for a CPU, and "
        "nobody else used their cores directly before and behind, which the speed of the "
        "first-level caches shows. A star: no sample was clean. Made by "
        "`python -m benchmarks.cpu_table`.",
        *tables,
    )


def _rates(runs: list[dict[str, Any]]) -> list[str]:
    batches = sorted({row["batch"] for run in runs for row in _rows(run, "decode")})
    head = ("context", *(f"decode, batch {batch}" for batch in batches), "prefill, 512")
    head += ("memory GB/s", "peak G operations/s", "clean samples")
    lines = []
    for run in runs:
        decode = {row["batch"]: row for row in _rows(run, "decode")}
        (prefill,) = _rows(run, "prefill")
        ceilings = run["ceilings"]
        counted = [*decode.values(), prefill]
        clean, total = (sum(row[name] for row in counted) for name in ("clean_samples", "samples"))
        lines.append(
            (
                format_tokens(run["context"]),
                *(_rate(decode[n], decode[n]["reached"]["read"]) for n in batches),
                _prefill_rate(prefill),
                f"{ceilings['read_bytes_per_second'] / 1e9:.1f}",
                f"{ceilings['peak_operations_per_second'] / 1e9:.0f}",
                f"{clean}/{total}",
            )
        )
    return table(head, lines)


def _rows(run: dict[str, Any], work: str) -> list[dict[str, Any]]:
    return [row for row in run["rows"] if row["work"] == work]


def _prefill_rate(row: dict[str, Any]) -> str:
    """Tokens per second, of the highest peak, of that of bf16."""
    reached = row["reached"]
    return _rate(row, min(reached.values()), reached.get("bfloat16", reached["float32"]))


def _rate(row: dict[str, Any], *fractions: float) -> str:
    """Tokens per second, marked where no sample was clean, and what they are of the ceilings."""
    mark = "" if row["clean_samples"] else "*"
    return (
        f"{row['tokens_per_second']:.2f}{mark} ({', '.join(f'{each:.2f}' for each in fractions)})"
    )
