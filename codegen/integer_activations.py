"""Integer activations of a compilation: which targets get them, and what the manifest says."""

from collections.abc import Mapping

from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.targets import Target
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import ActivationsInfo, LogitEffect
from sala_compile.runtime.errors import RequestError
from sala_compile.sala_ir.dialect import WeightOp


def activations_for(target: Target, options: CompileOptions) -> Activations:
    """What linears of a target multiply integer weights by: GPUs by values as they are."""
    return options.activations if target.multiplies_integers else Activations.WIDE


def check_targets(options: CompileOptions, targets: Mapping[str, Target]) -> None:
    """Raise RequestError if integer activations are requested and no target has them."""
    if options.activations is Activations.WIDE or _rounding(options, targets):
        return
    raise RequestError(
        "kernels for GPUs have no activations of 8 bits",
        where=f"--activations {options.activations.value} --target {', '.join(targets)}",
        expected="a target cpu",
        fix="take --activations wide, or compile for a CPU too",
    )


def check_integers(options: CompileOptions, is_published: bool) -> None:
    """Raise RequestError if integer activations are requested and no weight is integers."""
    if options.activations is Activations.WIDE or is_published:
        return
    if options.quantization is Quantization.NONE:
        raise RequestError(
            "no weight of the model is stored as integers",
            where=f"--activations {options.activations.value}",
            expected="a checkpoint of integers, or --quantize int4-g128, int4-g32 or int8",
            fix="add --quantize int4-g128, or leave --activations out",
        )


def wide_note(options: CompileOptions, targets: Mapping[str, Target]) -> list[str]:
    """The note on targets that do not get the integer activations that others do."""
    rounding = _rounding(options, targets)
    wide = [name for name in targets if name not in rounding]
    if options.activations is Activations.WIDE or not wide:
        return []
    kind = options.dtype.value
    return [f"activations stay {kind} on {', '.join(wide)}: GPU kernels have none of 8 bits"]


def activations_info(
    options: CompileOptions,
    targets: Mapping[str, Target],
    captured: ModuleOp,
    effect: LogitEffect | None,
) -> ActivationsInfo | None:
    """What the manifest says of integer activations; None if there are none.

    The roles that keep wide activations are those of the captured module's weights.
    """
    if options.activations is Activations.WIDE:
        return None
    roles = {op.role.data for op in captured.walk() if isinstance(op, WeightOp)}
    return ActivationsInfo(
        scheme=options.activations.value,
        targets=_rounding(options, targets),
        wide=tuple(sorted(role.label for role in roles if role.is_sensitive)),
        effect=effect,
    )


def _rounding(options: CompileOptions, targets: Mapping[str, Target]) -> tuple[str, ...]:
    return tuple(
        name
        for name, target in targets.items()
        if activations_for(target, options) is not Activations.WIDE
    )
