"""Checkpoints compiled in this process."""

from pathlib import Path
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.compiler import CompileResult, compile_model
from sala_compile.codegen.lowering import lower, parse_targets
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Silent
from sala_compile.passes.assign_precision import Precision
from sala_compile.sala_ir.frontends import frontend_for, read_config
from tests.support.shared_objects import share_objects

GOLDEN = Path(__file__).parent.parent / "golden" / "data"
"""The golden checkpoints, one directory each."""


def compile_checkpoint(
    checkpoint: Path, output: Path, *, dtype: Precision = Precision.FLOAT32, **options: Any
) -> CompileResult:
    """Compile for this machine (unless `targets` says else) with a small context and chunk."""
    share_objects()
    chosen = {"context": 1024, "chunk": 64} | options
    wanted = CompileOptions(checkpoint=checkpoint, output=output, dtype=dtype, **chosen)
    wanted.check()
    return compile_model(wanted, Silent())


def kernel_level_module(checkpoint: Path, dtype: Precision) -> ModuleOp:
    """The module of a checkpoint just before kernels are chosen: what the kernels compute."""
    options = CompileOptions(checkpoint=checkpoint, output=None, dtype=dtype, dry_run=True)
    raw = read_config(checkpoint)
    frontend = frontend_for(raw)
    captured = frontend.build_module(frontend.parse_config(raw))
    target = parse_targets(("cpu",))["cpu"]
    return lower(captured, "cpu", target, options, Silent()).operations
