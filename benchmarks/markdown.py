"""Tables in Markdown, for the results."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 0) -> list[str]:
    """Lines of a table; all columns but the first `texts` are aligned to the right."""
    aligned = texts * ["---"] + (len(head) - texts) * ["---:"]
    lines = (head, aligned, *rows)
    return [f"| {' | '.join(line)} |" for line in lines]
