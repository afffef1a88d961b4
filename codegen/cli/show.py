"""How sala-compile shows its work: a summary on stdout."""

from typing import Any

from rich.console import Console
from rich.table import Table

from sala_compile.runtime.common.units import format_bytes, format_tokens


def print_summary(summary: dict[str, Any]) -> None:
    """The plain summary of a compilation."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=120)
    console.print(_headline(summary))
    console.print(_pass_table(summary["passes"]))
    for target, kernels in summary["kernels"].items():
        console.print(_kernel_table(target, kernels))
    if "memory" in summary:
        console.print(_weight_table(summary["weights"]))
        several = len(summary["memory_by_target"]) > 1
        for target, memory in summary["memory_by_target"].items():
            console.print(_memory_line(summary, memory, f" on {target}" if several else ""))
            console.print(_context_line(memory))
    for warning in summary["notes"]:
        console.print(f"note: {warning}")


def _headline(summary: dict[str, Any]) -> str:
    model = summary["model"]
    lines = [
        f"{model['family']}, {model['parameters'] / 1e6:.1f} M parameters, "
        f"{model['layers']} layers, vocabulary {model['vocabulary']}",
        f"attention {summary['attention']}, {summary['dtype']}, "
        f"targets {', '.join(summary['kernels']) or 'none'}, {summary['seconds']:.1f} s",
    ]
    if written := summary.get("artifact"):
        lines.append(f"wrote {written['path']}: {format_bytes(written['bytes'])}")
        if signature := written.get("signature"):
            lines.append(f"wrote {signature}")
    else:
        lines.append("nothing was written")
    return "\n".join(lines)


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left")
    return made


def _pass_table(passes: list[dict[str, Any]]) -> Table:
    made = _table("\npasses", "pass", "ops before", "ops after")
    for entry in passes:
        made.add_row(entry["name"], str(entry["before"]), str(entry["after"]))
    return made


def _kernel_table(target: str, kernels: list[dict[str, Any]]) -> Table:
    made = _table(f"\nkernels for {target}", "family", "kernels", "steps")
    families = dict.fromkeys(entry["family"] for entry in kernels)
    for family in families:
        own = [entry for entry in kernels if entry["family"] == family]
        made.add_row(family, str(len(own)), str(sum(entry["steps"] for entry in own)))
    return made


def _weight_table(weights: dict[str, Any]) -> Table:
    made = _table("\nweights", "kind", "stored as", "tensors", "bits of a value", "bytes")
    for entry in weights["kinds"]:
        stored = entry["dtype"] if entry["encoding"] == "plain" else entry["encoding"]
        bits = f"{entry['bits_per_value']:.4g}"
        size = format_bytes(entry["bytes"])
        made.add_row(entry["kind"], stored, str(entry["tensors"]), bits, size)
    return made


def _context_line(memory: dict[str, Any]) -> str:
    """The longest context of one sequence for usual budgets, rounded down to 1K."""
    budgets = memory["largest_context"]
    fitting = ", ".join(
        f"{entry['context'] >> 10}K tokens in {entry['memory_bytes'] >> 30} GiB"
        for entry in budgets
        if entry["context"]
    )
    none = f"none fits {budgets[-1]['memory_bytes'] >> 30} GiB"
    return f"longest context: {fitting or none}"


def _memory_line(summary: dict[str, Any], memory: dict[str, Any], place: str) -> str:
    parts = ", ".join(
        f"{name.replace('_', ' ')} {format_bytes(size)}"
        for name, size in memory["parts"].items()
        if size
    )
    return (
        f"\nmemory for one sequence of {format_tokens(summary['context'])} tokens{place}: "
        f"{format_bytes(memory['total_bytes'])} ({parts})"
    )
