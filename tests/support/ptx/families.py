"""The code of every Triton function that a family launches, with the product's schedules."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from sala_compile.codegen.kernels.cast import gpu as cast
from sala_compile.codegen.kernels.elementwise import gpu as elementwise
from sala_compile.codegen.kernels.elementwise.cpu import Function
from sala_compile.codegen.kernels.embedding_integers import gpu as embedding_integers
from sala_compile.codegen.kernels.gated_recurrence.gpu import spec as gated_recurrence
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.rope import gpu as rope
from sala_compile.codegen.kernels.short_convolution import gpu as short_convolution
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.kernel import GpuKernel
from sala_compile.codegen.kernels.triton.phase import TokenForm
from sala_compile.codegen.kernels.triton.products import Products
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from tests.support.compiled import GOLDEN
from tests.support.ptx.divergence import families_of, texts_of
from tests.support.recurrence import delta_of

F32 = Element.F32
OTHERS: tuple[tuple[str, KernelSpec], ...] = (
    ("cast", cast.Spec(4096, 0, 4096, F32, Element.BF16)),
    ("elementwise", elementwise.Spec(Function.SWIGLU, 256, 1.0, 0, 256, 0, 256, F32, F32, F32)),
    ("embedding_integers", embedding_integers.Spec(128, 256, 1.0, F32, 4, 32)),
    ("rope", rope.Spec(512, 128, 128, 0, 512, F32, F32)),
    *(
        ("short_convolution", short_convolution.Spec(2048, 4, True, 0, 8192, F32, form=form))
        for form in TokenForm
    ),
    *(
        ("gated_recurrence", replace(spec, form=form, products=Products.TF32X3))
        for spec in (
            delta_of(4, 2, 128, 128, kind=gated_recurrence.Spec),
            delta_of(2, 2, 128, 128, channel_decay=True, kind=gated_recurrence.Spec),
        )
        for form in TokenForm
    ),
)
"""Of what neither the released model nor that with unrotated keys has."""
RELEASED = CompileOptions(
    checkpoint=None,
    output=None,
    config_file=Path(__file__).parents[3] / "examples" / "released-config.json",
    dry_run=True,
    quantization=Quantization.INT4_G128,
)
Texts = dict[tuple[str, str], list[str]]
"""By family and function."""


@cache
def texts_of_families(target: CudaTarget) -> Texts:
    """The PTX of functions of the released model in int4-g128, and of what other models add.

    Of each function the launches of one kernel.
    """
    found: Texts = defaultdict(list)
    for name, kernel in (*families_of(RELEASED, target), *_others(target)):
        functions = {(name, launch.function.__name__) for launch in kernel.each_launch()}
        if not functions <= found.keys():
            for function, text in texts_of(kernel, target):
                found[name, function].append(text)
    return dict(found)


def _others(target: CudaTarget) -> Iterator[tuple[str, GpuKernel]]:
    options = CompileOptions(
        checkpoint=GOLDEN / "minicpm-nope",
        output=None,
        dry_run=True,
        dtype=Precision.BFLOAT16,
    )
    yield from families_of(options, target)
    for name, spec in OTHERS:
        yield name, family(name, "gpu").build(spec, target)
