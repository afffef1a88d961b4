"""sala-compile: from a checkpoint to an artifact."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sala_compile.codegen.cli.emit_onnx import (
    EXPORTED,
    FLOAT16,
    check_given,
    default_dtype,
    export_model,
    summary_lines,
)
from sala_compile.codegen.options import (
    DEFAULT_CALIBRATION_TOKENS,
    CompileOptions,
    WeightOrigin,
    WeightRounding,
)
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.round_pages import PageStorage
from sala_compile.passes.support.quantization import Quantization, TiedHead
from sala_compile.runtime.common.option_types import TOKENS
from sala_compile.runtime.common.process import run_command
from sala_compile.runtime.errors import RequestError, reported_as
from sala_compile.sala_ir.frontends import AttentionMode

GRAPH_SUFFIX = ".mlir"
_FIELDS = {
    "--quantize": "quantization",
    "--requantize": "requantization",
    "--target": "targets",
}
"""Options whose field has another name."""
_PATH = click.Path(path_type=Path)


def _one_of(name: str, default: StrEnum, **how: Any) -> Callable[[Any], Any]:
    """An option that takes one of the values of an enumeration."""
    kinds = click.Choice([kind.value for kind in type(default)])
    return click.option(name, type=kinds, default=default.value, **how)


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("checkpoint", type=_PATH, required=False)
@click.option(
    "-o",
    "--output",
    type=_PATH,
    metavar="NAME.sala",
    help="The artifact, or the directory of an export, to write.",
)
@click.option(
    "--emit",
    type=click.Choice(["sala", "onnx"]),
    default="sala",
    help="An artifact for sala-run and sala-serve, or a directory with model.onnx and its weights "
    "for other runtimes (needs the extra [onnx]).",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    default=("cpu",),
    help="cpu (this machine), cpu:PROCESSOR, such as cpu:x86-64-v3, or cuda:ARCHITECTURE, such as "
    "cuda:sm_90 (needs the extra [gpu], no GPU); may be repeated or a list: cuda:sm_90,sm_120.",
)
@click.option(
    "--dtype",
    type=click.Choice([FLOAT16, *(kind.value for kind in Precision)]),
    show_default="bfloat16; float32 with --emit onnx",
    help="Type of weights and caches; float32 also computes in float32. float16 with --emit onnx.",
)
@_one_of(
    "--attention",
    AttentionMode.CONFIG,
    help="Sparse layers as the config says, always sparse, or always dense.",
)
@_one_of(
    "--quantize",
    Quantization.NONE,
    help="Store the linears of the layers as integers, each 32 or 128 values with a scale; output "
    "gates, q and k that choose blocks and the head take 8 bits, the embedding keeps --dtype.",
)
@_one_of(
    "--requantize",
    Quantization.NONE,
    help="Round to these integers what no kernel reads: blocks of a GGUF file (IQ2_XXS, ...), "
    "integers of an ONNX model with scales that float16 lacks; the error is reported. All others "
    "are taken as they are.",
)
@_one_of(
    "--tied-head",
    TiedHead.AUTO,
    help="A head that shares the embedding's matrix, in a quantised model. auto: a copy of 8 bits, "
    "which a token reads in half the time, where --quantize rounds; int8: in quantised checkpoints "
    "too, unless they have integers for both; shared: once for both.",
)
@_one_of(
    "--activations",
    Activations.WIDE,
    help="int8: on CPUs, linears whose weights are integers also round what they multiply them by "
    "to 8 bits; faster, and less exact: the effect on the logits is reported.",
)
@_one_of(
    "--kv",
    PageStorage.WIDE,
    help="Store full pages of keys and values in 8 bits, in 4, or keys in 8 and values in 4 (on "
    "CPUs); the page that still grows stays as it is. bf16: all pages in --dtype.",
)
@_one_of(
    "--rounding",
    WeightRounding.GPTQ,
    help="How --quantize rounds: so that errors cancel on a calibration text, or each value for "
    "itself.",
)
@click.option(
    "--calibration",
    type=_PATH,
    metavar="FILE",
    help="Text for --rounding gptq, or token ids. Without it, a text that comes with sala-compile; "
    "seeded token ids where the checkpoint has no tokenizer.",
)
@click.option(
    "--calibration-tokens",
    type=TOKENS,
    default=str(DEFAULT_CALIBRATION_TOKENS),
    help="Tokens of the calibration text that are used, as one sequence; memory grows with them.",
)
@click.option(
    "--activation-order",
    is_flag=True,
    show_default=False,
    help="For --rounding gptq: round the columns first whose inputs are largest.",
)
@click.option("--context", type=TOKENS, default="32K", help="Default context at load.")
@click.option("--chunk", type=TOKENS, default="512", help="New tokens of one prefill step.")
@click.option(
    "--page-size",
    type=TOKENS,
    help="Tokens of a page of state: a multiple of 16, and of the blocks that sparse attention "
    "selects; default: such a block, or 64.",
)
@click.option(
    "--tuning",
    type=_PATH,
    metavar="FILE",
    help="Take the schedules that sala-tune found, for kernels with the same constants.",
)
@click.option("--dump-ir", type=_PATH, metavar="DIR", help="One numbered MLIR file per pass.")
@click.option("--stop-after", metavar="PASS", help="Stop after this pass and print the module.")
@click.option("--dry-run", is_flag=True, show_default=False, help="Plan only, write nothing.")
@click.option(
    "--config",
    "config_file",
    type=_PATH,
    metavar="FILE",
    help="Compile this config.json without a checkpoint: with --weights random, or to plan "
    "(--dry-run, --stop-after).",
)
@click.option(
    "--weights",
    metavar="checkpoint|random|DIR",
    default=WeightOrigin.CHECKPOINT.value,
    help="random (with --config or a graph): weights of the full shape, made from a seed when the "
    "artifact is loaded and never written, for capacity planning and measurements. For a graph: "
    "checkpoint, the one that it was captured from, or DIR, another one.",
)
@click.option(
    "--sign",
    type=_PATH,
    metavar="KEY",
    help="Sign the artifact with this private key: writes NAME.sala.sig (needs the extra [sign]).",
)
@click.option(
    "--json", "as_json", is_flag=True, show_default=False, help="Print one JSON document."
)
@click.version_option(package_name="sala-compile", prog_name="sala-compile")
def command(as_json: bool, sign: Path | None, emit: str, **options: Any) -> None:
    """Compile the model in CHECKPOINT, a directory, a GGUF file or an ONNX model, into the artifact
    NAME.sala.

    CHECKPOINT may also be a graph, such as an edited GRAPH.mlir of --dump-ir: the passes begin
    after the one that wrote it.
    """
    with reported_as("sala-compile"):
        given = _given()
        dtype = options["dtype"] = options["dtype"] or default_dtype(emit)
        check_given(given, emit, dtype)
        if emit == "onnx":
            _export(_options({**options, **EXPORTED}, given), dtype, as_json)
        else:
            _compile(_options(options, given), as_json, sign)


def main() -> None:
    """Entry point of the console script."""
    run_command(command, "sala-compile")


def _options(given: dict[str, Any], requested: set[str]) -> CompileOptions:
    from sala_compile.codegen.targets import split_targets  # these take a while, --help should not

    fields = {flag: flag.removeprefix("--").replace("-", "_") for flag in requested} | _FIELDS
    kinds: dict[str, Any] = {
        "given": frozenset(fields[flag] for flag in requested),
        "dtype": Precision(given["dtype"]),
        "attention": AttentionMode(given["attention"]),
        "quantization": Quantization(given.pop("quantize")),
        "requantization": Quantization(given.pop("requantize")),
        "tied_head": TiedHead(given["tied_head"]),
        "activations": Activations(given["activations"]),
        "kv": PageStorage(given["kv"]),
        "rounding": WeightRounding(given["rounding"]),
        **_origin(given),
        "targets": split_targets(given["targets"]),
    }
    options = CompileOptions(**(given | kinds))
    options.check()
    return options


def _origin(given: dict[str, Any]) -> dict[str, Any]:
    """What is compiled, and where its weights come from."""
    place, weights = given["checkpoint"], given["weights"]
    if place is None or place.suffix != GRAPH_SUFFIX:
        if weights not in list(WeightOrigin):
            raise RequestError(
                f"--weights {weights} is for a graph",
                expected=f"checkpoint, random, or CHECKPOINT to be a file *{GRAPH_SUFFIX}",
                fix="name the checkpoint in place of CHECKPOINT",
            )
        return {"weights": WeightOrigin(weights)}
    if weights in list(WeightOrigin):
        return {"graph": place, "checkpoint": None, "weights": WeightOrigin(weights)}
    return {"graph": place, "checkpoint": Path(weights), "weights": WeightOrigin.CHECKPOINT}


def _given() -> set[str]:
    """Options that have a value because the user gave one."""
    context = click.get_current_context()
    return {
        parameter.opts[-1]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
    }


def _export(options: CompileOptions, dtype: str, as_json: bool) -> None:
    from sala_compile.runtime.common.stage_bars import StageBars

    if options.graph is not None:
        raise RequestError(
            "--emit onnx takes a checkpoint, not a graph",
            where=str(options.graph),
            fix="name the checkpoint, or compile the graph to an artifact",
        )
    with StageBars() as bars:
        summary = export_model(options, dtype, bars)
    if as_json:
        _print_json(summary)
    else:
        sys.stdout.write(summary_lines(summary) + "\n")


def _compile(options: CompileOptions, as_json: bool, key: Path | None) -> None:
    from sala_compile.codegen.cli.show import print_summary
    from sala_compile.codegen.compiler import compile_model
    from sala_compile.runtime.artifact.signature import check_signer, sign_artifact
    from sala_compile.runtime.common.stage_bars import StageBars

    if key is not None:
        if not options.writes or options.output is None:
            raise RequestError("nothing is written that could be signed", where="--sign")
        check_signer(key)
    with StageBars() as bars:
        result = compile_model(options, bars)
    if key is not None and options.output is not None:
        result.summary["artifact"]["signature"] = str(sign_artifact(options.output, key))
    if as_json:
        _print_json(result.summary)
    elif options.stop_after:
        sys.stdout.write(result.text)
    else:
        print_summary(result.summary)


def _print_json(summary: dict[str, Any]) -> None:
    import json

    json.dump(summary, sys.stdout, indent=2)
    sys.stdout.write("\n")
