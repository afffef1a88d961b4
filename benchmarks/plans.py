"""What released models take, and how long their contexts may be: the table of `docs/plans.md`.

    python -m benchmarks.plans [--only NAME]

Plans every config of `examples/configs` and that of MiniCPM-SALA, without weights: integers of 4
bits for the linears, keys, values and latents in bfloat16, one sequence on a processor. `--only`
plans these again, and leaves the others' rows as they are.
"""

import json
from pathlib import Path
from typing import Any

import click

from benchmarks.markdown import table
from sala_compile.codegen.compiler import compile_model
from sala_compile.codegen.options import CompileOptions, WeightRounding
from sala_compile.codegen.progress import Silent
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.common.units import format_bytes

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "examples" / "configs"
SALA = ROOT / "examples" / "released-config.json"
PAGE = ROOT / "docs" / "plans.md"
CONTEXT = 1 << 20
BUDGETS = tuple(size << 30 for size in (24, 32, 80, 141))
BEGIN, END = "<!-- python -m benchmarks.plans -->", "<!-- end -->"


def configs() -> dict[str, Path]:
    """The configs by name, in the order of the table: by their families' names."""
    found = {path.stem: path for path in CONFIGS.glob("*.json")} | {"minicpm-sala": SALA}
    return dict(sorted(found.items(), key=lambda item: (_model_type(item[1]), item[0])))


def row(name: str, path: Path) -> list[str]:
    """A model's line: family, parameters, its bytes, those of a token, contexts by memory."""
    summary = _planned(path)
    model, memory = summary["model"], summary["memory"]
    fitting = {x["memory_bytes"]: x["context"] for x in memory["largest_context"]}
    token = sum(memory["token_bytes"].values())
    return [
        f"[{name}](../{path.relative_to(ROOT)})",
        f"`{_model_type(path)}`",
        f"{model['parameters'] / 1e9:.1f} B",
        format_bytes(memory["parts"]["weights"]),
        format_bytes(round(token)),
        format_bytes(memory["total_bytes"]),
        *(_length(fitting[budget]) for budget in BUDGETS),
    ]


def lines(rows: list[list[str]]) -> list[str]:
    """The table of these rows."""
    by_memory = [f"{budget >> 30} GiB" for budget in BUDGETS]
    head = ["model", "family", "parameters", "weights", "a token", "at 1M", *by_memory]
    return table(head, rows, texts=2)


def _planned(path: Path) -> dict[str, Any]:
    options = CompileOptions(
        checkpoint=None,
        output=None,
        config_file=path,
        quantization=Quantization.INT4_G128,
        rounding=WeightRounding.NEAREST,
        context=CONTEXT,
        dry_run=True,
    )
    return compile_model(options, Silent()).summary


def _model_type(path: Path) -> str:
    return json.loads(path.read_text(encoding="utf-8"))["model_type"]


def _length(tokens: int) -> str:
    return f"{tokens >> 10}K" if tokens else "none"


def kept_rows() -> dict[str, list[str]]:
    """The rows that the page has, by the model's name."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ["):
            cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
            found[cells[0].split("](")[0].removeprefix("[")] = cells
    return found


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Plan these alone.")
def main(only: tuple[str, ...]) -> None:
    """Plan the models."""
    kept, rows = kept_rows(), []
    for name, path in configs().items():
        if only and name not in only and name in kept:
            rows.append(kept[name])
            continue
        rows.append(row(name, path))
        click.echo(" | ".join(rows[-1]))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    text = "\n".join([before + BEGIN, "", *lines(rows), "", END + after])
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
