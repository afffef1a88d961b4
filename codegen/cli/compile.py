"""sala-compile: from a checkpoint to an artifact."""

import sys
from pathlib import Path
from typing import Any

import click

from sala_compile.codegen.options import (
    DEFAULT_CALIBRATION_TOKENS,
    CompileOptions,
    WeightOrigin,
    WeightRounding,
)
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.common.option_types import TOKENS
from sala_compile.runtime.common.process import run_command
from sala_compile.runtime.errors import RequestError, reported_as
from sala_compile.sala_ir.frontends import AttentionMode

_PATH = click.Path(path_type=Path)


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("checkpoint", type=_PATH, required=False)
@click.option("-o", "--output", type=_PATH, metavar="NAME.sala", help="The artifact to write.")
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
    type=click.Choice([kind.value for kind in Precision]),
    default=Precision.BFLOAT16.value,
    help="Type of weights and caches; float32 also computes in float32.",
)
@click.option(
    "--attention",
    type=click.Choice([kind.value for kind in AttentionMode]),
    default=AttentionMode.CONFIG.value,
    help="Sparse layers as the config says, always sparse, or always dense.",
)
@click.option(
    "--quantize",
    type=click.Choice([kind.value for kind in Quantization]),
    default=Quantization.NONE.value,
    help="Store the linears of the layers as integers, each 32 or 128 values with a scale; output "
    "gates, q and k that choose blocks and the head take 8 bits, the embedding keeps --dtype.",
)
@click.option(
    "--activations",
    type=click.Choice([kind.value for kind in Activations]),
    default=Activations.WIDE.value,
    help="int8: on CPUs, linears whose weights are integers also round what they multiply them by "
    "to 8 bits; faster, and less exact: the effect on the logits is reported.",
)
@click.option(
    "--rounding",
    type=click.Choice([kind.value for kind in WeightRounding]),
    default=WeightRounding.GPTQ.value,
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
    type=click.Choice([kind.value for kind in WeightOrigin]),
    default=WeightOrigin.CHECKPOINT.value,
    help="random (with --config): weights of the full shape, made from a seed when the artifact is "
    "loaded and never written, for capacity planning and measurements.",
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
def command(as_json: bool, sign: Path | None, **options: Any) -> None:
    """Compile the model in CHECKPOINT, a directory or a GGUF file, into the artifact NAME.sala."""
    with reported_as("sala-compile"):
        _compile(_options(options), as_json, sign)


def main() -> None:
    """Entry point of the console script."""
    run_command(command, "sala-compile")


def _options(given: dict[str, Any]) -> CompileOptions:
    from sala_compile.codegen.targets import split_targets  # these take a while, --help should not

    kinds: dict[str, Any] = {
        "dtype": Precision(given["dtype"]),
        "attention": AttentionMode(given["attention"]),
        "quantization": Quantization(given.pop("quantize")),
        "activations": Activations(given["activations"]),
        "rounding": WeightRounding(given["rounding"]),
        "weights": WeightOrigin(given["weights"]),
        "targets": split_targets(given["targets"]),
    }
    options = CompileOptions(**(given | kinds))
    options.check()
    return options


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
        import json

        json.dump(result.summary, sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif options.stop_after:
        sys.stdout.write(result.text)
    else:
        print_summary(result.summary)
