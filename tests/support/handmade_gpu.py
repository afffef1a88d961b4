"""The hand-made artifact for a GPU too: the same kernels in Triton, and one that samples."""

from pathlib import Path

import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    Extent,
    GpuKernel,
    Grid,
    Launch,
    Parameter,
    Pointer,
)
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write.gpu_library import build_library
from sala_compile.runtime.artifact import (
    ArtifactWriter,
    ElementType,
    InputName,
    Manifest,
    Phase,
    PhaseName,
    Program,
    Step,
    Symbol,
    TargetInfo,
    TargetProgram,
    Value,
    ValueKind,
    canonical_json,
    dim_of,
    write_artifact,
)
from tests.support.emulated_gpu import emulated_code
from tests.support.handmade import PAGE, PITCH, VOCABULARY, fill, tiny_program

INTEGERS = (
    *("control", "tokens", "sequence", "position", "call_lengths", "generated", "slots"),
    *("history", "checkpoints", "table"),
)
ROWS = (Grid(0, (("logit_rows", 1, 1),)), ONE, ONE)


@triton.jit
def tiny_hidden(
    control,
    tokens,
    sequence,
    position,
    call_lengths,
    generated,
    slots,
    history,
    checkpoints,
    table,
    state,
    pages,
    out,
    pitch,
):
    """See `tests.support.handmade`: one program for all tokens, in their order."""
    for i in range(tl.load(control)):
        member = tl.load(sequence + i)
        slot = tl.load(slots + member)
        at = tl.load(position + i)
        token = tl.load(tokens + i).to(tl.float32)
        total = tl.where(at == 0, 0.0, tl.load(state + slot * 16)) + token
        tl.store(state + slot * 16, total)
        keep = tl.load(checkpoints + member)
        last = i + 1 == tl.load(control)
        if (keep >= 0) & (tl.load(sequence + i + 1, mask=not last, other=-1) == member):
            tl.store(state + (keep + at - tl.load(history + member)) * 16, total)
        tl.store(pages + tl.load(table + slot * pitch + at // 4) * 16 + at % 4, token)
        first = tl.load(pages + tl.load(table + slot * pitch) * 16)
        alone = tl.load(generated + member) == 1
        length = tl.where(alone, at + 1, tl.load(call_lengths + member)).to(tl.float32)
        tl.store(out + i * 16, total + first * 64 + length * 1024)


@triton.jit
def tiny_logits(control, rows, hidden, bias, out, N: tl.constexpr, P: tl.constexpr):
    """See `tests.support.handmade`."""
    row = tl.program_id(0)
    if row >= tl.load(control + 2):
        return
    whole = tl.load(hidden + tl.load(rows + row) * 16).to(tl.int32) % N
    columns = tl.arange(0, P)
    found = tl.load(bias + columns) - tl.abs((columns - whole).to(tl.float32))
    tl.store(out + row * P + columns, found)


@triton.jit
def tiny_sample(control, sampling, logits, sampled, N: tl.constexpr, P: tl.constexpr):
    """The most likely token, or at a temperature the one at the uniform number; top_k is 0."""
    row = tl.program_id(0)
    if row >= tl.load(control + 2):
        return
    columns = tl.arange(0, P)
    values = tl.load(logits + row * P + columns, mask=columns < N, other=float("-inf"))
    temperature = tl.load(sampling + row * 4).to(tl.float32, bitcast=True)
    uniform = tl.load(sampling + row * 4 + 3).to(tl.float32, bitcast=True)
    best = tl.max(values, 0)
    choice = tl.min(tl.where(values == best, columns, P), 0)
    if temperature > 0:
        heights = tl.cumsum(tl.exp((values - best) / temperature), 0)
        choice = tl.sum((heights <= uniform * tl.max(heights, 0)).to(tl.int32), 0)
    wrong = tl.sum((values != values).to(tl.int32), 0)
    tl.store(sampled + row * 2, tl.where(wrong > 0, 0, choice))
    tl.store(sampled + row * 2 + 1, (wrong > 0).to(tl.int32))


def _pointers(**elements: str) -> dict[str, Pointer]:
    return {name: Pointer(name, element) for name, element in elements.items()}


def tiny_kernels() -> dict[str, GpuKernel]:
    """The kernels of the program by symbol."""
    control = Parameter("control", "int32", (16,))
    hidden = GpuKernel(
        "tiny_hidden",
        (
            control,
            Parameter("tokens", "int32", ("tokens",)),
            Parameter("sequence", "int32", ("tokens",)),
            Parameter("position", "int32", ("tokens",)),
            Parameter("call_lengths", "int32", ("sequences",)),
            Parameter("generated", "int32", ("sequences",)),
            Parameter("slots", "int32", ("sequences",)),
            Parameter("history", "int32", ("sequences",)),
            Parameter("checkpoints", "int32", ("sequences",)),
            Parameter("table", "int32", ("slots", "sequence_pages")),
            Parameter("state", "float32", ("slots", 16)),
            Parameter("pages", "float32", ("pages", 16)),
            Parameter("out", "float32", ("tokens", 16)),
        ),
        (
            Launch(
                tiny_hidden,
                (ONE, ONE, ONE),
                {name: Pointer(name, "i32") for name in INTEGERS}
                | _pointers(state="fp32", pages="fp32", out="fp32")
                | {"pitch": Extent("table", 1)},
                {},
            ),
        ),
    )
    logits = GpuKernel(
        "tiny_logits",
        (
            control,
            Parameter("rows", "int32", ("logit_rows",)),
            Parameter("hidden", "float32", ("tokens", 16)),
            Parameter("bias", "float32", (PITCH,)),
            Parameter("out", "float32", ("logit_rows", PITCH)),
        ),
        (
            Launch(
                tiny_logits,
                ROWS,
                _pointers(control="i32", rows="i32", hidden="fp32", bias="fp32", out="fp32"),
                {"N": VOCABULARY, "P": PITCH},
            ),
        ),
    )
    sample = GpuKernel(
        "tiny_sample",
        (
            control,
            Parameter("sampling", "int32", ("logit_rows", 4)),
            Parameter("logits", "float32", ("logit_rows", PITCH)),
            Parameter("sampled", "int32", ("logit_rows", 2)),
        ),
        (
            Launch(
                tiny_sample,
                ROWS,
                _pointers(control="i32", sampling="i32", logits="fp32", sampled="i32"),
                {"N": VOCABULARY, "P": PITCH},
            ),
        ),
    )
    return {kernel.symbol: kernel for kernel in (hidden, logits, sample)}


def gpu_program(target: str, *, samples: bool = True) -> Program:
    """The program of the hand-made artifact with a GPU target beside the processor's."""
    program = tiny_program()
    phases = dict(program.targets["cpu"].phases)
    values = dict(program.values)
    if samples:
        rows = dim_of(Symbol.LOGIT_ROWS)
        integer = ElementType.INT32
        values["sampling"] = Value(kind=ValueKind.INPUT, dtype=integer, shape=(rows, 4))
        values["sampled"] = Value(kind=ValueKind.ACTIVATION, dtype=integer, shape=(rows, 2))
        arguments = ("control", InputName.SAMPLING.value, "logits", "sampled")
        step = Step(kernel="tiny_sample", family="sample", arguments=arguments)
        live = {"logits": (0, 0), "sampled": (0, 0)}
        phases[PhaseName.SAMPLE] = Phase(steps=(step,), live=live)
    library = f"lib/{target.replace(':', '-')}.json"
    own = TargetProgram(library=library, read_multiple=PAGE, splits=True, phases=phases)
    targets = {**program.targets, target: own}
    return program.model_copy(update={"values": values, "targets": targets})


def write_handmade_gpu(directory: Path, architecture: int = 90, *, samples: bool = True) -> Path:
    """Write the artifact with a processor's and a GPU's target."""
    target = CudaTarget(architecture)
    program = gpu_program(target.name, samples=samples)

    def write(writer: ArtifactWriter) -> Manifest:
        made = fill(writer, program=program)
        info = program.targets[target.name]
        cubins = info.library.replace(".json", ".cubins")
        with emulated_code():
            built = build_library(tiny_kernels(), target, cubins, lambda count: None)
        writer.write_bytes(info.library, canonical_json(built.table))
        writer.write_bytes(cubins, built.cubins)
        own = TargetInfo(library=info.library, architecture="cuda", mcpu=target.processor)
        return made.model_copy(update={"targets": {**made.targets, target.name: own}})

    write_artifact(directory, write)
    return directory
