"""From the captured step to kernel calls: the passes in order, and how they are run."""

from collections.abc import Callable, Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass, PassPipeline

from sala_compile.passes.assign_precision import AssignPrecision, Precision
from sala_compile.passes.encode_weights import EncodeWeights
from sala_compile.passes.fold_scales import FoldScales
from sala_compile.passes.fuse_attention_gate import FuseAttentionGate
from sala_compile.passes.fuse_norm_calls import FuseNormCalls, Splitter, never
from sala_compile.passes.fuse_norm_gate import FuseNormGate
from sala_compile.passes.fuse_qk_norm_rope import FuseQkNormRope
from sala_compile.passes.fuse_residual import FuseResidual
from sala_compile.passes.fuse_swiglu import FuseSwiglu
from sala_compile.passes.merge_projections import MergeProjections
from sala_compile.passes.open_attention import OpenAttention
from sala_compile.passes.plan_intervals import PlanIntervals
from sala_compile.passes.quantize_activations import Activations, QuantizeActivations
from sala_compile.passes.quantize_weights import QuantizeWeights
from sala_compile.passes.round_pages import PageStorage, RoundPages
from sala_compile.passes.select_kernels import SelectKernels, Selector
from sala_compile.passes.set_page_size import SetPageSize
from sala_compile.passes.sink_row_selection import SinkRowSelection
from sala_compile.passes.specialise_phases import SpecialisePhases
from sala_compile.passes.support.callbacks import CAPTURED
from sala_compile.passes.support.kernel_choice import NoKernel
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.context import make_context

Callback = Callable[[ModulePass | None, ModuleOp, ModulePass | None], None]
"""Called before, between and after the passes with (previous, module, next)."""


def sala_pipeline(
    dtype: Precision,
    selector: Selector,
    quantization: Quantization = Quantization.NONE,
    activations: Activations = Activations.WIDE,
    splitter: Splitter = never,
    page_tokens: int | None = None,
    storage: PageStorage = PageStorage.WIDE,
) -> tuple[ModulePass, ...]:
    """All passes, in order, in five phases."""
    return (
        # 1. Precision: the element type of every value, how every weight is stored.
        AssignPrecision(dtype),  # where values are rounded to bf16
        SetPageSize(page_tokens),  # tokens of a page of state, apart from the blocks of selection
        RoundPages(storage, page_tokens is not None),  # full pages of keys, values as integers
        QuantizeWeights(quantization, dtype),  # integers; sensitive weights get 8 bits
        QuantizeActivations(activations),  # bytes for linears whose weights are integers
        # 2. Graph: fewer and larger products, mixers in the stages that kernels compute.
        MergeProjections(),  # q | k | v | gate of one input and encoding: one linear
        FoldScales(),  # the scale of a residual branch into the linear at its end
        OpenAttention(),  # attention mixers into append, compress, select, attend
        # 3. Fusion: what one kernel computes becomes one op.
        FuseQkNormRope(),  # norm and rotation of q and k into Lightning attention, or into one op
        FuseAttentionGate(),  # output gate into attention
        FuseNormGate(),  # output gate into the norm before it
        FuseSwiglu(),  # gate and up: one linear over interleaved rows, SwiGLU as its epilogue
        FuseResidual(),  # residual sum into the linear at the end of the branch
        # 4. Phases: a step of each kind of work.
        SinkRowSelection(),  # only the wanted rows reach the last norm and the head
        SpecialisePhases(),  # @step into @prefill, @decode and @logits
        EncodeWeights(dtype),  # weights of linears and embedding in the stored element type
        # 5. Kernels: calls, and the memory that they need.
        SelectKernels(selector),  # a kernel call for every op, weights in the kernels' layouts
        FuseNormCalls(splitter),  # norms of a decoded token into the calls around them, on a GPU
        PlanIntervals(),  # live interval of every value; residual streams in place
    )


def pass_names() -> tuple[str, ...]:
    """The names of all passes, in order."""
    return tuple(each.name for each in sala_pipeline(Precision.FLOAT32, _no_kernels))


def _no_kernels(op: Operation) -> NoKernel:
    return NoKernel(())


def run_pipeline(
    module: ModuleOp,
    passes: Sequence[ModulePass],
    callbacks: Sequence[Callback] = (),
    *,
    stop_after: str | None = None,
) -> ModuleOp:
    """Run the passes on `module` in place, calling every callback around each; returns `module`.

    `stop_after` names the last pass to run. Raises `CompileError` for a name that no pass has.
    """

    def called(previous: ModulePass | None, at: ModuleOp, following: ModulePass | None) -> None:
        for callback in callbacks:
            callback(previous, at, following)

    PassPipeline(tuple(up_to(passes, stop_after)), called).apply(make_context(), module)
    return module


def begin_after(passes: Sequence[ModulePass], stage: str) -> Sequence[ModulePass]:
    """The passes that follow the one named `stage`, which is a pass or `CAPTURED`."""
    if stage == CAPTURED:
        return passes
    return passes[[each.name for each in passes].index(stage) + 1 :]


def up_to(passes: Sequence[ModulePass], stop_after: str | None) -> Sequence[ModulePass]:
    """The passes up to and including the one of that name; all of them for None."""
    if stop_after is None:
        return passes
    names = [item.name for item in passes]
    if stop_after not in names:
        raise CompileError(
            f'there is no pass "{stop_after}"',
            expected=f"one of {', '.join(names)}",
            fix="give the name of a pass",
        )
    return passes[: names.index(stop_after) + 1]
