"""A hand-made artifact of two tiny kernels, whose logits are known in closed form.

State of a sequence: the running sum of its token ids in a recurrent slot (those between drafted
tokens go to checkpoints), and every id in the KV pages. The hidden value of a token is the sum up
to it, plus 64 times the first id (read back from the first page), plus 1024 times the call length,
which is that up to the token where it was generated. logits[v] = -|v - hidden mod vocabulary|.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from sala_compile.runtime.artifact import (
    GOLDEN_NAME,
    GOLDEN_TENSORS_NAME,
    PROGRAM_NAME,
    ArtifactWriter,
    AttentionPath,
    ElementType,
    Expected,
    Golden,
    GoldenSequence,
    InputName,
    KernelVector,
    Manifest,
    ModelInfo,
    Observation,
    PageGroup,
    Paging,
    Phase,
    PhaseName,
    Pool,
    PoolPart,
    Program,
    Step,
    Symbol,
    TargetInfo,
    TargetProgram,
    Value,
    ValueKind,
    canonical_json,
    dim_of,
    pages_of,
    write_artifact,
)
from sala_compile.runtime.artifact.batch_fields import INPUT_SHAPES
from sala_compile.runtime.common.safetensors_format import TensorSpec

VOCABULARY = 29
PITCH = 32
PAGE = 4
COMPRESSED_PAGE = 256
RUNTIME = "lib/libtvm_runtime.so"
LIBRARY = "lib/cpu.so"
FFI_VERSION = "0.1.14.post1"


def expected_logits(
    token_ids: Sequence[int] | np.ndarray, call_length: int | None = None
) -> np.ndarray:
    """The logits [tokens, VOCABULARY] behind each of the tokens of one call from the start."""
    ids = np.asarray(token_ids, np.int64)
    length = len(ids) if call_length is None else call_length
    hidden = np.cumsum(ids) + 64 * ids[0] + 1024 * length
    return -np.abs(np.arange(VOCABULARY) - (hidden % VOCABULARY)[:, None]).astype(np.float32)


@cache
def library() -> Path:
    """The compiled kernels."""
    import tvm
    from tvm.script import tirx as T

    @T.prim_func(s_tir=True)
    def hidden(
        control: T.handle,
        tokens: T.handle,
        sequence: T.handle,
        position: T.handle,
        call_lengths: T.handle,
        generated: T.handle,
        slots: T.handle,
        history: T.handle,
        checkpoints: T.handle,
        table: T.handle,
        state: T.handle,
        pages: T.handle,
        out: T.handle,
    ):
        T.func_attr({"global_symbol": "tiny_hidden", "tirx.noalias": True})
        n, b, s, w, p, r = T.int64(), T.int64(), T.int64(), T.int64(), T.int64(), T.int64()
        C = T.match_buffer(control, (16,), "int32", align=64)
        ID = T.match_buffer(tokens, (n,), "int32", align=64)
        SEQ = T.match_buffer(sequence, (n,), "int32", align=64)
        POS = T.match_buffer(position, (n,), "int32", align=64)
        LEN = T.match_buffer(call_lengths, (b,), "int32", align=64)
        GEN = T.match_buffer(generated, (b,), "int32", align=64)
        SLOT = T.match_buffer(slots, (b,), "int32", align=64)
        HIST = T.match_buffer(history, (b,), "int32", align=64)
        KEEP = T.match_buffer(checkpoints, (b,), "int32", align=64)
        TABLE = T.match_buffer(table, (s, w), "int32", align=64)
        STATE = T.match_buffer(state, (s, 16), "float32", align=64)
        PAGES = T.match_buffer(pages, (p, 16), "float32", align=64)
        OUT = T.match_buffer(out, (r, 16), "float32", align=64)
        for i in T.serial(C[0]):
            slot = SLOT[SEQ[i]]
            if POS[i] == 0:
                STATE[slot, 0] = T.float32(0)
            STATE[slot, 0] = STATE[slot, 0] + T.Cast("float32", ID[i])
            after = T.min(i + 1, C[0] - 1)
            if T.And(KEEP[SEQ[i]] >= 0, T.And(after > i, SEQ[after] == SEQ[i])):
                STATE[KEEP[SEQ[i]] + POS[i] - HIST[SEQ[i]], 0] = STATE[slot, 0]
            PAGES[TABLE[slot, POS[i] // 4], POS[i] % 4] = T.Cast("float32", ID[i])
            OUT[i, 0] = (
                STATE[slot, 0]
                + PAGES[TABLE[slot, 0], 0] * T.float32(64)
                + T.Cast("float32", T.if_then_else(GEN[SEQ[i]] == 1, POS[i] + 1, LEN[SEQ[i]]))
                * T.float32(1024)
            )

    @T.prim_func(s_tir=True)
    def logits(control: T.handle, rows: T.handle, hidden: T.handle, bias: T.handle, out: T.handle):
        T.func_attr({"global_symbol": "tiny_logits", "tirx.noalias": True})
        n, r, c = T.int64(), T.int64(), T.int64()
        C = T.match_buffer(control, (16,), "int32", align=64)
        ROWS = T.match_buffer(rows, (r,), "int32", align=64)
        H = T.match_buffer(hidden, (n, 16), "float32", align=64)
        BIAS = T.match_buffer(bias, (32,), "float32", align=64)
        OUT = T.match_buffer(out, (c, 32), "float32", align=64)
        for w in T.parallel(C[3]):
            for i in T.serial((C[2] - w + C[3] - 1) // C[3]):
                row = i * C[3] + w
                for v in T.serial(32):
                    whole = T.Cast("int32", H[ROWS[row], 0])
                    OUT[row, v] = BIAS[v] - T.fabs(
                        T.Cast("float32", v) - T.Cast("float32", whole % 29)
                    )

    target = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64"})
    built = tvm.compile(tvm.IRModule({"tiny_hidden": hidden, "tiny_logits": logits}), target)
    path = Path(mkdtemp(prefix="sala-handmade-")) / "cpu.so"
    built.export_library(str(path))
    return path


PAGING = Paging(
    page_tokens=PAGE,
    groups={
        "kv": PageGroup(table="page_table", tokens=PAGE, label="KV pages"),
        "compressed": PageGroup(
            table="compressed_table", tokens=COMPRESSED_PAGE, label="compressed pages"
        ),
    },
)


def _part(name: str, axis: int) -> PoolPart:
    row = (16,) if axis else ()
    return PoolPart(name=name, row=row, stored={name: (axis,)})


def _keys() -> PoolPart:
    """One number for every 16 tokens."""
    return PoolPart(name="keys", row=(), stride=16, stored={"keys": (0,)})


def tiny_program() -> Program:
    """The program over the two kernels."""
    tokens, slots = dim_of(Symbol.TOKENS), dim_of(Symbol.SLOTS)
    floats = ElementType.FLOAT32
    values = {
        str(name): Value(kind=ValueKind.INPUT, dtype=ElementType.INT32, shape=shape)
        for name, shape in (INPUT_SHAPES | PAGING.tables).items()
        if name is not InputName.SAMPLING
    }
    values |= {
        "hidden": Value(kind=ValueKind.ACTIVATION, dtype=floats, shape=(tokens, 16)),
        "logits": Value(
            kind=ValueKind.ACTIVATION, dtype=floats, shape=(dim_of(Symbol.LOGIT_ROWS), PITCH)
        ),
        "bias": Value(kind=ValueKind.WEIGHT, dtype=floats, shape=(PITCH,)),
        "sum": Value(kind=ValueKind.POOL, dtype=floats, shape=(slots, 16)),
        "ids": Value(kind=ValueKind.POOL, dtype=floats, shape=(dim_of(pages_of("kv")), 16)),
        "keys": Value(
            kind=ValueKind.POOL, dtype=floats, shape=(dim_of(pages_of("compressed")), 16)
        ),
    }
    first = Step(
        kernel="tiny_hidden",
        family="tiny",
        layer=0,
        arguments=(
            "control",
            "tokens",
            "token_sequence",
            "token_position",
            "call_lengths",
            "generated",
            "slots",
            "history",
            "checkpoints",
            "page_table",
            "sum",
            "ids",
            "hidden",
        ),
    )
    last = Step(
        kernel="tiny_logits",
        family="tiny",
        arguments=("control", "logit_rows", "hidden", "bias", "logits"),
    )
    body = Phase(steps=(first,), live={"hidden": (0, 0)})
    phases = {
        PhaseName.PREFILL: body,
        PhaseName.DECODE: body,
        PhaseName.LOGITS: Phase(steps=(last,), live={"hidden": (0, 0), "logits": (0, 0)}),
    }
    watched = tuple(
        Observation(layer=0, phase=phase, values={"value": "hidden"})
        for phase in (PhaseName.PREFILL, PhaseName.DECODE)
    )
    return Program(
        paths=(AttentionPath(first_length=0, name="dense"),),
        paging=PAGING,
        pools={
            "sum": Pool(group=None, memory="recurrent_state", parts=(_part("sum", 1),)),
            "ids": Pool(group="kv", memory="kv_pages", parts=(_part("ids", 0),)),
            "keys": Pool(group="compressed", memory="compressed_keys", parts=(_keys(),)),
        },
        logits="logits",
        values=values,
        targets={"cpu": TargetProgram(library=LIBRARY, read_multiple=PAGE, phases=phases)},
        observable={"hidden": watched},
    )


def manifest(**changes: Any) -> Manifest:
    """The manifest, before the writer completes it."""
    fields: dict[str, object] = {
        "model": ModelInfo(
            family="tiny", config_digest="0", vocabulary=VOCABULARY, eos_token_ids=(3,)
        ),
        "attention": "config",
        "dtype": "float32",
        "context": 64,
        "chunk": 8,
        "targets": {
            "cpu": TargetInfo(
                library=LIBRARY, runtime=RUNTIME, mcpu="x86-64", instructions=("sse2",)
            )
        },
        "versions": {"apache-tvm-ffi": FFI_VERSION},
        "weight_files": ("weights-00001.safetensors",),
    }
    return Manifest.model_validate(fields | changes)


def fill(
    writer: ArtifactWriter, *, bias: float = 0.0, program: Program | None = None, **changes: Any
) -> Manifest:
    """Write every file of the artifact; a `bias` on the logits makes the golden ones wrong."""
    import tvm

    writer.copy_file(LIBRARY, library())
    writer.copy_file(RUNTIME, Path(tvm.__file__).parent / "lib" / "libtvm_runtime.so")
    writer.write_bytes(PROGRAM_NAME, canonical_json(program or tiny_program()))
    with writer.tensors(
        "weights-00001.safetensors", [TensorSpec("bias", "F32", (PITCH,))]
    ) as tensors:
        tensors.write("bias", np.full(PITCH, bias, np.float32))
    _write_golden(writer)
    return manifest(**changes)


def _write_golden(writer: ArtifactWriter) -> None:
    ids = np.array([5, 4, 8, 2, 1, 7, 7], np.int32)
    hidden = np.zeros((len(ids), 16), np.float32)
    hidden[:, 0] = range(30, 30 + len(ids))
    last = np.arange(VOCABULARY) - hidden[-1, 0] % VOCABULARY
    arrays = {
        "ids": ids,
        "logits": expected_logits(ids),
        "hidden": hidden,
        "wanted": -np.abs(last)[None].astype(np.float32),
    }
    kinds = {"i": "I32", "f": "F32"}
    specs = [TensorSpec(name, kinds[a.dtype.kind], a.shape) for name, a in arrays.items()]
    with writer.tensors(GOLDEN_TENSORS_NAME, specs) as tensors:
        for name, array in arrays.items():
            tensors.write(name, array)
    kernel = KernelVector(
        name="logits of a row",
        kernel="tiny_logits",
        phase=PhaseName.LOGITS,
        step=0,
        given={"hidden": "hidden"},
        expected={"logits": Expected(tensor="wanted")},
    )
    sequence = GoldenSequence(name="short", token_ids="ids", logits="logits", absolute=0.0)
    golden = Golden(sequences=(sequence,), kernels=(kernel,))
    writer.write_bytes(GOLDEN_NAME, canonical_json(golden))


def write_handmade(directory: Path, **changes: Any) -> Path:
    """Write the artifact; `changes` replace fields of the manifest."""
    write_artifact(directory, lambda writer: fill(writer, **changes))
    return directory
