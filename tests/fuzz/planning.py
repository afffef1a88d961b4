"""Dry runs of the compiler."""

from pathlib import Path
from typing import Any

from sala_compile.codegen.compiler import compile_model
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Silent
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from sala_compile.sala_ir.frontends import AttentionMode

KINDS = {"dtype": Precision, "attention": AttentionMode, "quantization": Quantization}


def plan_config(place: Path, **options: Any) -> None:
    """`sala-compile --dry-run` of a checkpoint directory or of a config file."""
    chosen = {name: KINDS.get(name, lambda v: v)(value) for name, value in options.items()}
    if place.suffix == ".json":
        asked = CompileOptions(
            checkpoint=None, config_file=place, output=None, dry_run=True, **chosen
        )
    else:
        asked = CompileOptions(checkpoint=place, output=None, dry_run=True, **chosen)
    asked.check()
    compile_model(asked, Silent())
