"""The attention path on which each token of a sequence was computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sala_compile.runtime.artifact import AttentionPath


class PathRule:
    """The path of a call, by the length of its sequence when the call is done."""

    def __init__(self, paths: Sequence[AttentionPath]) -> None:
        """For the paths of a program, ascending."""
        self._paths = tuple(paths)
        self._descending = [(path.first_length, path.name) for path in reversed(self._paths)]
        ends = [path.first_length for path in self._paths[1:]]
        self._limits = dict(zip(self.names, [*ends, None], strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """All paths, that of the shortest calls first."""
        return tuple(path.name for path in self._paths)

    def path(self, call_length: int) -> str:
        """The path of a call after which a sequence has `call_length` tokens."""
        for first_length, name in self._descending:
            if first_length <= call_length:
                return name
        raise AssertionError("the first path is for all lengths")

    def allows(self, spans: "PathSpans", length: int) -> bool:
        """Whether calls can have made a sequence of `length` tokens of these spans.

        A call is at least as long as what it leaves, and can have been longer before it was cut.
        """
        ends = [end for end, _ in spans.ends]
        names = [name for _, name in spans.ends]
        ascending = ends == sorted(set(ends)) and ends[-1:] == [length] and ends[0] > 0
        turning = all(one != other for one, other in pairwise(names))
        possible = all(self._can_end(name, end) for end, name in spans.ends)
        return ascending and turning and possible

    def _can_end(self, name: str, end: int) -> bool:
        """Whether some call of at least `end` tokens takes the path."""
        if name not in self._limits:
            return False
        limit = self._limits[name]
        return limit is None or end < limit


@dataclass(frozen=True, slots=True)
class PathSpans:
    """The paths of a sequence: `ends` holds for each span its end in tokens and its path."""

    ends: tuple[tuple[int, str], ...] = ()

    def grown(self, end: int, path: str) -> "PathSpans":
        """The spans up to `end`, the new part on `path`."""
        if self.ends and self.ends[-1][1] == path:
            return PathSpans((*self.ends[:-1], (end, path)))
        return PathSpans((*self.ends, (end, path)))

    def cut(self, length: int) -> "PathSpans":
        """The first `length` tokens."""
        kept: list[tuple[int, str]] = []
        for end, path in self.ends:
            if kept and kept[-1][0] == length:
                break
            if length:
                kept.append((min(end, length), path))
        return PathSpans(tuple(kept))
