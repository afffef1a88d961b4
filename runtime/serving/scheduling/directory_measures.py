"""What dashboards read of a prefix directory."""

from collections import Counter
from collections.abc import Mapping

from sala_compile.runtime.serving.work.measures import Measures

_FAILURES = (
    *("damaged", "write_errors", "no_room", "no_memory", "late", "dropped", "not_removed"),
    *("unreadable", "orphans"),
)
"""What the directory counts that leaves a prefix out."""


class DirectoryMeasures:
    """Brings the counts of a directory, which only grow, to the measures."""

    def __init__(self, measures: Measures) -> None:
        """Nothing was counted."""
        self._measures = measures
        self._told: Counter[str] = Counter()

    def look(self, found: Mapping[str, int]) -> None:
        """Take what the directory says about itself."""
        measures = self._measures
        measures.directory_bytes.set(found["bytes"])
        measures.directory_entries.set(found["states"])
        measures.directory_hits.inc(self._more(found, "recalled"))
        measures.directory_tokens.inc(self._more(found, "recalled_tokens"))
        measures.directory_written.inc(self._more(found, "written"))
        measures.directory_evictions.inc(self._more(found, "evictions"))
        for name in _FAILURES:
            more = self._more(found, name)
            if more:
                measures.directory_failures.labels(name.replace("_", " ")).inc(more)

    def _more(self, found: Mapping[str, int], name: str) -> int:
        """How much a count grew."""
        before, self._told[name] = self._told[name], found.get(name, 0)
        return self._told[name] - before
