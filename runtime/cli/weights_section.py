"""The section of sala-inspect about the weights: every tensor, its encoding, its error."""

from rich.console import RenderableType
from rich.text import Text

from sala_compile.runtime.artifact import QuantizationInfo
from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.cli.common import table
from sala_compile.runtime.cli.sections import ReportSection
from sala_compile.runtime.common.units import format_bytes


def weights_section(artifact: Artifact) -> ReportSection:
    """The tensors of the checkpoint if they were quantised, else the stored ones."""
    manifest = artifact.manifest
    if manifest.quantization is not None:
        document = manifest.quantization.model_dump(mode="json")
        return ReportSection("weights", document, _quantized(manifest.quantization))
    made = table("weights", "tensor", "stored as", "shape", "layout")
    for name, info in manifest.tensors.items():
        stored = info.dtype if info.encoding == "plain" else info.encoding
        made.add_row(name, stored, " x ".join(map(str, info.shape)), info.layout)
    size = f"{len(manifest.tensors)} tensors, {format_bytes(artifact.weight_bytes)}"
    document = {name: info.model_dump(mode="json") for name, info in manifest.tensors.items()}
    return ReportSection("weights", document, (made, Text(size)))


def _quantized(info: QuantizationInfo) -> tuple[RenderableType, ...]:
    errors = ("weight error", "output error")
    made = table("weights", "tensor", "for", "stored as", *errors, numbers=errors)
    for name, entry in info.tensors.items():
        if entry.role != "norm or bias":
            found = (_percent(entry.weight_error), _percent(entry.output_error))
            made.add_row(name, entry.role, entry.encoding, *found)
    return made, Text(str(info))


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error:.2%}"
