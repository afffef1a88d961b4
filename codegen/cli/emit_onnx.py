"""sala-compile --emit onnx: which options it takes, and its summary."""

from collections.abc import Mapping
from typing import Any

from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Progress
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.errors import CompileError, RequestError

FLOAT16 = "float16"
"""The element type that only an export has."""
TAKEN = {
    *("checkpoint", "--output", "--emit", "--dtype", "--attention", "--quantize", "--requantize"),
    *("--tied-head", "--rounding", "--calibration", "--calibration-tokens", "--activation-order"),
    "--json",
}
"""Options that say something about an export."""
EXPORTED: Mapping[str, Any] = {"dtype": Precision.FLOAT32, "context": 512, "chunk": 512}
"""What an export has in place of the options of an artifact: any context, float32 integers."""


def check_given(given: set[str], emit: str, dtype: str) -> None:
    """Refuse options that are of the other form of output; RequestError."""
    if emit != "onnx":
        if dtype == FLOAT16:
            raise RequestError(
                "an artifact has no float16 weights",
                where="--dtype float16",
                expected="bfloat16 or float32, or --emit onnx",
            )
        return
    foreign = sorted(given - TAKEN)
    if foreign:
        raise RequestError(
            "--emit onnx writes the graph before kernels are chosen, which has no such option",
            where=", ".join(foreign),
            fix="leave it out",
        )


def export_model(options: CompileOptions, dtype: str, progress: Progress) -> dict[str, Any]:
    """Export; the summary. CompileError without the package that this needs."""
    try:
        from sala_compile.codegen.export_model import export_onnx
        from sala_compile.codegen.onnx_export.element import OnnxElement
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise CompileError(
            "the package onnx is not installed",
            where="--emit onnx",
            fix="pip install 'sala-compile[onnx]'",
        ) from None
    return export_onnx(options, OnnxElement(dtype), progress)


def default_dtype(emit: str) -> str:
    """The element type without --dtype: one that every runtime of ONNX computes in."""
    return (Precision.FLOAT32 if emit == "onnx" else Precision.BFLOAT16).value


def summary_lines(summary: Mapping[str, Any]) -> str:
    """The summary for people."""
    model, written = summary["model"], summary["artifact"]
    lines = [
        f"{model['family']}, {model['parameters'] / 1e6:.1f} M parameters, "
        f"{model['layers']} layers, vocabulary {model['vocabulary']}",
        f"attention {summary['attention']}, {summary['dtype']}, ONNX with operators of version "
        f"{summary['opset']}, {summary['seconds']:.1f} s",
        f"wrote {written['path']}: {format_bytes(written['bytes'])}",
        *(f"note: {note}" for note in summary["notes"]),
    ]
    return "\n".join(lines)
