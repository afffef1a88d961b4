"""Anonymous memory while a checkpoint of the released shapes is exported to ONNX.

    python -m benchmarks.export_memory --layers 12 --work build/quantization

Writes a random checkpoint of the released widths, heads and vocabulary, and exports it in bfloat16.
Tensors pass a few rows at a time, so the peak is that of any number of layers.
"""

from pathlib import Path

import click

from benchmarks.machine import machine_document
from benchmarks.markdown import Document, page, table, write_report
from benchmarks.quantization_memory import GIB, RESULTS, anonymous_peak, released_checkpoint
from sala_compile.codegen.export_model import export_onnx
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Silent
from tests.support.process_memory import anonymous_bytes

ALLOWED = 4 * GIB
"""Bytes that the export of a checkpoint of 19 GB may take."""
PACKAGES = ("sala-compile", "onnx", "numpy", "ml_dtypes")


@click.command(help=__doc__.partition("\n")[0])
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/quantization"))
@click.option("--layers", default=2, show_default=True, help="One sparse, the others Lightning.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "export_memory.json")
def main(work: Path, layers: int, output: Path) -> None:
    """Export once, write and print the table."""
    checkpoint = released_checkpoint(work, layers)
    options = CompileOptions(checkpoint=checkpoint, output=work / f"released-{layers}-onnx")
    before = anonymous_bytes()
    with anonymous_peak() as peak:
        summary = export_onnx(options, OnnxElement.BFLOAT16, Silent())
    found = {
        "layers": layers,
        "exported_bytes": summary["artifact"]["bytes"],
        "anonymous_before": before,
        "anonymous_peak": max(peak),
    }
    write_report(output, machine_document(PACKAGES, 1) | found, markdown)
    click.echo(output.with_suffix(".md").read_text())


def markdown(document: Document) -> str:
    """The table for people."""
    cells = [
        str(document["layers"]),
        f"{document['exported_bytes'] / 1e9:.2f} GB",
        *(f"{document[key] / 2**20:.0f} MiB" for key in ("anonymous_before", "anonymous_peak")),
        f"{ALLOWED >> 20} MiB",
    ]
    head = ("layers", "exported", "anonymous memory before", "at its peak", "allowed for 19 GB")
    return page("Memory of an export to ONNX", document, table(head, [cells]))


if __name__ == "__main__":
    main()
