"""What the code of every kernel counts on three GPUs, in the kernels' READMEs.

    python -m benchmarks.gpu.readme_tables

Compiles the released model in int4-g128 and writes the section of each README: for every Triton
function the launch that takes most of a step, by the model of `launch_bounds.py`.
"""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.gpu.cards import CARDS, Card
from benchmarks.gpu.launch_bounds import Predicted, predicted
from benchmarks.gpu.recorded import ROOT
from benchmarks.gpu.released import calls_of, lowered
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.step_bounds import CHUNK
from benchmarks.gpu.work import Case
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization

KERNELS = ROOT / "codegen" / "kernels"
BEGIN = "## Counted\n"
END = "## Arguments\n"
PHASES = {"decode": (1, 1 << 20), "prefill": (CHUNK, 1 << 19)}
"""New tokens of a step, and the tokens before them."""
NOTE = (
    "The released model in int4-g128; a decoded token at 1 Mi, a chunk of 8192 tokens at 512 Ki. Of"
    " each function the launch that\ntakes most of a step: registers, KiB of shared memory, blocks"
    " on a multiprocessor; instructions of all warps; bytes of memory;\ntime by the model, and what"
    " bounds it (`python -m benchmarks.gpu.readme_tables` writes this table; no GPU has timed it)."
)
Cells = dict[tuple[str, str], dict[str, str]]
"""By phase and function, then card."""


def cell(row: Predicted) -> str:
    """What one launch counts on a card."""
    cubin = row.cubin
    warps = row.programs * cubin.threads / 32
    spilled = f", spills {cubin.spill_bytes}" if cubin.spill_bytes else ""
    return (
        f"{cubin.registers}, {cubin.shared_bytes >> 10}, {row.resident}{spilled}; "
        f"{_digits(row.counts.issue * warps / 1e6)} M; {_digits(row.dram / 1e6)} MB; "
        f"{_digits(1e6 * row.seconds)} us {row.bound}"
    )


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.2g}"


def counted(card: Card, cache: Path) -> dict[str, Cells]:
    """The cells of a card, by family."""
    model = lowered(CudaTarget(card.architecture), Quantization.INT4_G128, Precision.BFLOAT16)
    sizes, found = Sizes.released(), dict[str, Cells]()
    for phase, (tokens, context) in PHASES.items():
        calls = calls_of(model, phase)
        families = {call.kernel.symbol: call.family for call in calls}
        case = Case(tokens, context, sizes.block, sizes.budget)
        for row in longest(predicted(calls, case, card, cache)):
            cells = found.setdefault(families[row.kernel], {})
            cells[phase, row.name] = {card.name: cell(row)}
    return found


def longest(rows: Iterable[Predicted]) -> list[Predicted]:
    """Of each function the launch that takes most of a step."""
    best: dict[str, Predicted] = {}
    for row in rows:
        other = best.setdefault(row.name, row)
        if row.times * row.seconds > other.times * other.seconds:
            best[row.name] = row
    return list(best.values())


def section(cells: Cells) -> str:
    """The section of a README."""
    lines = [BEGIN, NOTE, "", f"| | {' | '.join(CARDS)} |", "|---" * (1 + len(CARDS)) + "|"]
    for (phase, name), by_card in cells.items():
        values = " | ".join(by_card.get(card, "") for card in CARDS)
        lines.append(f"| `{name}`, {phase} | {values} |")
    return "\n".join(lines) + "\n\n"


def write(path: Path, cells: Cells) -> None:
    """Replace the section, which stands before that of the arguments."""
    text = path.read_text(encoding="utf-8")
    before, found, arguments = text.partition(END)
    assert found, f"{path} has no section of arguments"
    kept = before.partition(BEGIN)[0].rstrip()
    path.write_text(f"{kept}\n\n{section(cells)}{found}{arguments}", encoding="utf-8")


def main() -> None:
    """Write the tables of all families."""
    families: dict[str, Cells] = {}
    for card in CARDS.values():
        for family, cells in counted(card, Path("build/bounds")).items():
            for key, by_card in cells.items():
                families.setdefault(family, {}).setdefault(key, {}).update(by_card)
    for family, cells in families.items():
        write(KERNELS / family / "README.md", cells)


if __name__ == "__main__":
    main()
