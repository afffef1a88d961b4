"""Which kernels of a GPU share the work of the norm between them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sala_compile.codegen.kernels.arguments import operands_of
from sala_compile.codegen.kernels.family import KernelFamily
from sala_compile.codegen.kernels.lightning_attention.gpu import kernel as lightning
from sala_compile.codegen.kernels.linear.gpu import kernel as linear
from sala_compile.codegen.kernels.linear.gpu.spec import LinearForm, Spec
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.phase import TokenForm
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.fuse_norm_calls import NormSplit
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect import KernelCallOp, plain


def split_norm(
    target: CudaTarget, writer: KernelCallOp, norm: KernelCallOp, readers: Sequence[KernelCallOp]
) -> NormSplit | None:
    """Between linears of few rows, or from a step of lightning attention with its gate to one."""
    if norm.family.data != "rms_norm":
        return None
    between = _spec(norm)
    known = [_reader(call, norm, between) for call in readers]
    written = _writer(target, writer, between)
    if written is None or not known or any(each is None for each in known):
        return None
    choice, sums, keeps = written
    specs = [
        replace(spec, norm=between.columns, squares=sums, eps=between.eps)
        for spec in known
        if spec is not None
    ]
    return NormSplit(
        writer=choice,
        keeps=keeps,
        sums=sums,
        readers=tuple(_choice(linear.FAMILY, spec, target) for spec in specs),
        places=tuple(_operands(spec, target).index("squares") for spec in specs),
    )


def _writer(
    target: CudaTarget, call: KernelCallOp, norm: Any
) -> tuple[KernelChoice, int, bool] | None:
    """The kernel that writes the unscaled values, its sums of a row, and whether it keeps y."""
    if norm.x is not Element.F32 or norm.x_start or norm.gather or norm.group != norm.columns:
        return None
    if call.family.data == "linear" and not norm.gate_pitch:
        spec = _spec(call)
        if norm.columns != spec.columns or spec.form is not LinearForm.ROWS or spec.scaled:
            return None
        if spec.swiglu or spec.weight is not norm.output or spec.output is not Element.F32:
            return None
        scaled = replace(spec, scaled=True)
        sums = linear.FAMILY.default_schedule(scaled, target).across(scaled)
        return _choice(linear.FAMILY, scaled, target), sums, True
    if call.family.data == "lightning_attention" and norm.gate_pitch:
        spec = _spec(call)
        fits = norm.columns == spec.num_heads * spec.head_dim and norm.gate is Element.F32
        if not fits or spec.form is not TokenForm.STEP:
            return None
        view = {"gate_start": norm.gate_start, "gate_pitch": norm.gate_pitch}
        scaled = replace(spec, scaled=True, out_element=norm.output, **view)
        schedule = lightning.FAMILY.default_schedule(scaled, target)
        sums = lightning.sums_of_row(scaled, schedule)
        return _choice(lightning.FAMILY, scaled, target), sums, False
    return None


def _reader(call: KernelCallOp, norm: KernelCallOp, between: Any) -> Spec | None:
    """The constants of a linear of few rows that reads the norm as it is."""
    if call.family.data != "linear" or list(call.inputs).count(norm.results[0]) != 1:
        return None
    spec = _spec(call)
    fits = spec.form is LinearForm.ROWS and not spec.x_start and not spec.norm
    fits = fits and spec.depth == between.columns and spec.x_pitch == padded(between.columns)
    fits = fits and spec.weight is between.output
    return spec if fits and call.inputs[0] is norm.results[0] else None


def _choice(family: KernelFamily, spec: Any, target: CudaTarget) -> KernelChoice:
    return replace(family.choice(spec, target), rule="norm_split")


def _operands(spec: Spec, target: CudaTarget) -> tuple[str, ...]:
    """The inputs of a linear by their names."""
    schedule = linear.FAMILY.default_schedule(spec, target)
    return operands_of(linear.FAMILY.arguments(spec, schedule))


def _spec(call: KernelCallOp) -> Any:
    return family(call.family.data, "gpu").spec.parse(plain(call.spec))
