"""What a million tokens of the released model cost, in machine hours and at your prices.

    python -m examples.ray.cost --price 0.10 --hit-rate 0.5

From measured figures that benchmarks/results holds, on machines of 2 CPUs; `plan` says which.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
LAYERS = RESULTS / "2026-11-30-sparse-beside-dense.json"
LONG = RESULTS / "2026-11-21-long-context.json"
LENGTHS = {"64K": 65536, "1M": 1048576}


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens/s of one machine at a context: read from prompts, and answered by a whole batch."""

    read: float
    answer: float


def measured(length: int, batch: int) -> Rates:
    """The rates of the released model with 4-bit weights, extrapolated from what was measured.

    Layers of the released shape were measured at 64K: their time times their number, the head
    once. How much slower 1M is than 64K, and how much faster a batch is than one, were measured
    on two layers of the same width.
    """
    row: dict[str, Any] = json.loads(LAYERS.read_text())["rows"]["int4, 4 and 2 layers"]
    sizes = row["model"]["sala"]
    times = sizes["whole"] / sizes["layers"]
    segments = [each["sala"]["seconds"] for name, each in row.items() if name.startswith("segment")]
    read = LENGTHS["64K"] / (sum(segments) * times)
    head = row["decode 16384"]["sala"]["seconds"] * sizes["head_bytes"] / sizes["read_bytes"]
    token = (row["decode 65536"]["sala"]["seconds"] - head) * times + head
    long: dict[str, Any] = json.loads(LONG.read_text())
    found = next(each for each in long["batches"] if each["batch"] == batch)
    speed_up = found["one_by_one_seconds"] / found["together_seconds"]
    slower = {each["tokens"]: each["decode_seconds"] for each in long["points"]}
    return Rates(
        read * _read_rate(long, length) / _read_rate(long, LENGTHS["64K"]),
        speed_up / (token * slower[length] / slower[LENGTHS["64K"]]),
    )


def _read_rate(long: dict[str, Any], length: int) -> float:
    """Tokens/s of a prompt of that length, from its beginning on."""
    until = [each for each in long["segments"] if each["until"] <= length]
    return length / sum(each["seconds"] for each in until)


def hours(rate: float, share: float = 1.0) -> float:
    """Machine hours for a million tokens, of which a share has to be computed."""
    return 1e6 * share / rate / 3600


@click.command(help=__doc__.partition("\n")[0])
@click.option("--price", default=0.10, show_default=True, help="Of a machine for an hour.")
@click.option(
    "--hit-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of prompt tokens that need not be read.",
)
@click.option("--busy", default=1.0, show_default=True, help="Share of the hours that work.")
@click.option("--batch", type=click.Choice(["1", "2", "4", "8"]), default="8", show_default=True)
def main(price: float, hit_rate: float, busy: float, batch: str) -> None:
    """Print the plan."""
    for name, length in LENGTHS.items():
        rates = measured(length, int(batch))
        read, answer = hours(rates.read, 1 - hit_rate) / busy, hours(rates.answer) / busy
        click.echo(
            f"{name:>3} context: 1M prompt tokens {read:6.1f} h, {price * read:8.2f}; "
            f"1M answer tokens {answer:6.1f} h, {price * answer:8.2f}"
        )


if __name__ == "__main__":
    main()
