"""Figures of a campaign, and its failures by cause."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from tests.fuzz.meter import FAILED, Result


@dataclass(slots=True)
class Figures:
    """What became of the inputs of a target."""

    target: str
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    memory: int = 0
    failures: dict[str, list[Result]] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Count a result; the worst time and memory are those of what did not fail."""
        self.outcomes[result.outcome] += 1
        if result.outcome == FAILED:
            self.failures.setdefault(result.kind, []).append(result)
            return
        self.seconds = max(self.seconds, result.seconds)
        self.memory = max(self.memory, result.memory)

    @property
    def total(self) -> int:
        """All inputs."""
        return self.outcomes.total()


HEADINGS = ("target", "inputs", "accepted", "refused", "failed", "longest", "most memory")


def table(figures: Iterable[Figures]) -> str:
    """The figures in Markdown."""
    rows = [HEADINGS, ("---", *["---:"] * (len(HEADINGS) - 1))]
    found = list(figures)
    rows += [_cells(each) for each in found]
    whole = Figures("all")
    for each in found:
        whole.outcomes += each.outcomes
        whole.seconds = max(whole.seconds, each.seconds)
        whole.memory = max(whole.memory, each.memory)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [*rows, _cells(whole)])


def row(figures: Figures) -> str:
    """The figures of one target in a line."""
    return "  ".join(_cells(figures))


def document(figures: Iterable[Figures]) -> str:
    """The figures as a document of `benchmarks/results`."""
    found = list(figures)
    count = sum(each.total for each in found)
    heading = f"# {count:,} damaged inputs, {date.today().isoformat()}"
    return f"{heading}\n\n{NOTE}\n\n    python -m tests.fuzz --total {count}\n\n{table(found)}\n"


NOTE = """Accepted inputs succeeded, refused ones were told by a `SalaError`. Anything else fails:
another exception, a signal, a hang, over 2 s of processor, over 200 MiB and twice the size of the
input. Accepted states, programs, manifests, weights and tuning files then ran a prompt and a decode
step with every buffer beside a page without access. Longest and most memory are over inputs that
did not fail."""


def failures(figures: Iterable[Figures], examples: int = 3) -> str:
    """Each cause with the commands that show it."""
    lines: list[str] = []
    for each in figures:
        for kind, results in sorted(each.failures.items(), key=lambda item: -len(item[1])):
            lines.append(f"{each.target}: {len(results)} x {kind}")
            lines += [
                f"  python -m tests.fuzz --target {each.target} --seed {result.seed}"
                for result in results[:examples]
            ]
            lines += [f"    {line}" for line in results[0].detail.strip().splitlines()[-3:]]
    return "\n".join(lines)


def _cells(each: Figures) -> tuple[str, ...]:
    counts = (each.outcomes[name] for name in ("accepted", "refused", "failed"))
    numbers = (f"{count:,}" for count in (each.total, *counts))
    return (each.target, *numbers, f"{each.seconds:.2f} s", f"{each.memory / 2**20:.0f} MiB")
