"""The results of `benchmarks.kernels.linear_ggml`: JSON, and tables for people."""

from typing import Any

from benchmarks.kernels.layer_stacks import ROWS, Kind, stack, work_name
from benchmarks.kernels.sides import Samples
from benchmarks.markdown import page, table
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.common.timing import Summary, summarise


def comparisons(samples: Samples, layers: int, kinds: tuple[Kind, ...]) -> list[dict[str, Any]]:
    """A row for every stack and each of its peers, with the fastest layout of the peer."""
    rows = []
    for work, tokens in ROWS.items():
        for kind in kinds:
            cases = stack(kind, tokens, layers)
            own = summarise(samples["own", work_name(work, kind.name)])
            for peer in kind.peers:
                layouts = _layouts(samples, work_name(work, peer))
                best = min(layouts, key=lambda name: layouts[name].median)
                found = layouts[best]
                rows.append(
                    {
                        "work": work,
                        "rows": tokens,
                        "kind": kind.name,
                        "seconds": own.median,
                        "bytes_per_second": sum(case.bytes for case in cases) / own.median,
                        "operations_per_second": sum(c.operations for c in cases) / own.median,
                        "clean_samples": own.clean,
                        "samples": own.total,
                        "peer": peer,
                        "peer_layout": best,
                        "peer_seconds": found.median,
                        "peer_clean_samples": found.clean,
                        "peer_samples": found.total,
                        "peer_layouts": {name: each.median for name, each in layouts.items()},
                        "ratio": found.median / own.median,
                    }
                )
    return rows


def markdown(document: dict[str, Any]) -> str:
    """A table for each number of threads."""
    computed = "Times are those that the processes computed, not those that passed."
    return page(
        "Linear kernels compared with ggml",
        document,
        f"All {document['weights'] / 1e6:.0f} M weights of {document['layers']} layers, "
        "one matrix behind the other. ggml's time is that of its best layout; its rows of x are "
        "rounded to 8 bits, ours too where the name has int8-rows, else they are bf16. Medians of "
        "clean samples where there are any. Made by `python -m benchmarks.kernels.linear_ggml`.",
        computed if document["clock"] == "cpu" else "",
        *(block for run in document["runs"] for block in (_ceilings(run), _rows(run))),
    )


def _layouts(samples: Samples, name: str) -> dict[str, Summary]:
    """The layouts that ggml has of a stack; there is always the plain one."""
    return {
        work.removeprefix(f"{name} "): summarise(found)
        for (side, work), found in samples.items()
        if side == "ggml" and work.startswith(f"{name} ")
    }


def _ceilings(run: dict[str, Any]) -> str:
    arithmetic = ", ".join(
        f"{rate / 1e9:.0f} G operations/s of {name.removeprefix('ceiling_')}"
        for name, rate in run["operations_per_second"].items()
    )
    reading = run["read_bytes_per_second"] / 1e9
    return f"Threads: {run['threads']}. Memory is read at {reading:.1f} GB/s; {arithmetic}."


def _rows(run: dict[str, Any]) -> list[str]:
    head = (
        "work",
        "ours",
        "ggml",
        "its layout",
        "ours ms",
        "rate",
        "of the ceiling",
        "ggml ms",
        "times as fast",
        "clean (ours, ggml)",
    )
    rows = [
        (
            f"{row['work']}, {row['rows']} row{'s' * (row['rows'] > 1)}",
            row["kind"],
            row["peer"],
            row["peer_layout"],
            f"{row['seconds'] * 1e3:.2f}",
            *_rate(run, row),
            f"{row['peer_seconds'] * 1e3:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['clean_samples']}/{row['samples']}, "
            f"{row['peer_clean_samples']}/{row['peer_samples']}",
        )
        for row in run["rows"]
    ]
    return table(head, rows, texts=4)


def _rate(run: dict[str, Any], row: dict[str, Any]) -> tuple[str, str]:
    """What bounds a row: reading the weights in decode, arithmetic in prefill; and how near it."""
    if row["work"] == "decode":
        rate, ceiling = row["bytes_per_second"], run["read_bytes_per_second"]
        return f"{rate / 1e9:.1f} GB/s", f"{rate / ceiling:.2f}"
    ceilings, rate = run["operations_per_second"], row["operations_per_second"]
    floats = ceilings[Ceiling.FLOAT32]
    if row["kind"] == "bf16":
        best = ceilings.get(Ceiling.BFLOAT16, floats)
    else:
        best = ceilings[Ceiling.INT8 if row["kind"].endswith("int8-rows") else Ceiling.INT16]
    return f"{rate / 1e9:.0f} G/s", f"{rate / best:.2f}"
