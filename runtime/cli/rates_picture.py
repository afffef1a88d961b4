"""A picture of sala-bench's rates: the fraction of its ceilings that each reaches."""

from typing import TYPE_CHECKING, Any

from sala_compile.runtime.common.units import format_tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR = 0.36
"""Thickness of a bar, of which each rate has two."""


def rates_figure(document: dict[str, Any]) -> "tuple[Figure, dict[str, str]]":
    """Two bars for each rate, bytes and operations compared with their ceilings; hints at them."""
    from matplotlib.figure import Figure

    rows, ceilings = document["rows"], document["ceilings"]
    hints: dict[str, str] = {}
    figure = Figure(figsize=(11, 1.6 + 0.5 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    figure.suptitle(f"{document['artifact']}: rates compared with this machine's ceilings")
    axes.set_title(
        f"{document['processor']}, {document['threads']} threads, {document['dtype']}, "
        f"target {document['target']}",
        fontsize="small",
    )
    bandwidth = ceilings["read_bytes_per_second"] / 1e9
    peak = ceilings["peak_operations_per_second"] / 1e9
    for side, (key, label) in enumerate(
        (
            ("bandwidth_fraction", f"of reading memory, {bandwidth:.1f} GB/s"),
            ("peak_fraction", f"of arithmetic, {peak:.0f} G operations/s"),
        )
    ):
        places = [index + (side - 0.5) * BAR for index in range(len(rows))]
        bars = axes.barh(places, [row[key] for row in rows], BAR, label=label)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize="small")
        for index, (bar, row) in enumerate(zip(bars.patches, rows, strict=True)):
            bar.set_gid(f"rate-{index}-{side}")
            hints[f"rate-{index}-{side}"] = f"{_name(row)}: {row[key]:.3f}"
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.axvline(1, color="0.4", linewidth=1)
    axes.grid(axis="x", alpha=0.4)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, borderaxespad=2.5)
    rates = axes.twinx()
    rates.set_ylim(axes.get_ylim())
    rates.set_yticks(range(len(rows)), [f"{row['tokens_per_second']:.2f} tokens/s" for row in rows])
    return figure, hints


def _name(row: dict[str, Any]) -> str:
    name = f"{row['work']} {format_tokens(row['length'])}"
    return f"{name} x {row['batch']}" if row["batch"] > 1 else name
