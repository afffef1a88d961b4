"""What 8-bit rows change in the outputs of linears, compared with what 4-bit weights change.

    python -m benchmarks.row_rounding CHECKPOINT --quantize int4-g128 --tokens 1024

Rounds a checkpoint as `sala-compile --quantize` does, layer by layer, and for each linear also
rounds its inputs to integers of 8 bits with a scale for 32 or 128 values of a row. Both errors are
root mean squares over the same inputs, compared with the outputs: what follows the linear treats
them alike, so that their ratio is about that of their effects on the logits.
"""

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks.markdown import table
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Advance
from sala_compile.codegen.quantization.calibration import calibration_for
from sala_compile.codegen.quantization.gptq_rounding import Rounder
from sala_compile.codegen.quantization.integer_files import IntegerStore
from sala_compile.codegen.quantization.stream import Quantizer
from sala_compile.passes.support.quantization import Quantization

GROUPS = (32, 128)
"""Values of a row with one scale."""
SMALL = 0.1
"""Below this part of the weights' error that of rows counts as free."""


@dataclass(slots=True)
class MeasuringQuantizer(Quantizer):
    """Also notes, by weight, the error of outputs that rounded rows alone would make."""

    rows: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])

    def _round(self, name: str, rounder: Rounder, inputs: np.ndarray, advance: Advance) -> None:
        weight = self.source.rows(name, 0, self._shape(name)[0]).astype(np.float32)
        outputs = np.square(inputs @ weight.T).sum(dtype=np.float64)
        self.rows[name] = {
            group: float(np.sqrt(np.square(_lost(inputs, group) @ weight.T).sum() / outputs))
            for group in GROUPS
        }
        Quantizer._round(self, name, rounder, inputs, advance)


def _lost(rows: np.ndarray, group: int) -> np.ndarray:
    """Rows [tokens, K] less their nearest integers of 8 bits times a scale for each group."""
    depth = rows.shape[1]
    blocks = np.pad(rows, ((0, 0), (0, -depth % group))).reshape(len(rows), -1, group)
    scales = np.abs(blocks).max(axis=2, keepdims=True) / 127
    scales[scales == 0] = 1
    lost = blocks - np.rint(blocks / scales) * scales
    return lost.reshape(len(rows), -1)[:, :depth]


@click.command(help=__doc__.partition("\n")[0])
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--quantize", type=click.Choice(["int4-g128", "int4-g32"]), default="int4-g128")
@click.option("--tokens", default=1024, show_default=True)
def main(checkpoint: Path, quantize: str, tokens: int) -> None:
    """Print the table, by the last names of weights."""
    options = CompileOptions(
        checkpoint=checkpoint, output=None, dry_run=True, quantization=Quantization(quantize)
    )
    with ExitStack() as stack, TemporaryDirectory() as folder:
        source = open_source(options, stack)
        assert source.checkpoint is not None, "a checkpoint is named"
        ids = calibration_for(checkpoint, source.facts.vocabulary, None, tokens).token_ids
        quantizer = MeasuringQuantizer(
            source.captured, source.checkpoint, source.integers, IntegerStore(Path(folder))
        )
        quantizer.run(ids, lambda count: None)
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in quantizer.rows:
        kinds[name.removesuffix(".weight").rpartition(".")[2]].append(name)
    kinds["all"] = list(quantizer.rows)
    print(f"{quantize} by GPTQ, {len(ids)} tokens; medians, errors compared with the outputs\n")
    head = ["linears", "count", "weights"]
    head += [f"rows by {group}" for group in GROUPS]
    head += [f"ratio by {group}, below {SMALL}" for group in GROUPS]
    print("\n".join(table(head, [_cells(quantizer, *kind) for kind in kinds.items()], texts=1)))


def _cells(quantizer: MeasuringQuantizer, kind: str, names: list[str]) -> list[str]:
    weights = [quantizer.errors.output_error(name) or 0.0 for name in names]
    cells = [kind, str(len(names)), f"{median(weights):.2%}"]
    rows = {group: [quantizer.rows[name][group] for name in names] for group in GROUPS}
    cells += [f"{median(found):.2%}" for found in rows.values()]
    for found in rows.values():
        ratios = [row / weight for row, weight in zip(found, weights, strict=True)]
        cells.append(f"{median(ratios):.2f}, {sum(ratio < SMALL for ratio in ratios)}")
    return cells


if __name__ == "__main__":
    main()
