"""The emulator of PTX: instructions against Python, and every kind of fault that it reports."""

import numpy as np
import pytest
import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    GpuKernel,
    Grid,
    Launch,
    Parameter,
    Pointer,
)
from tests.codegen.kernels.linear import test_gpu as linear
from tests.codegen.kernels.sample import test_gpu as sample
from tests.support.ptx.block import Block, Lockstep, UnsupportedError
from tests.support.ptx.memory import AccessError, Actor, Clock, GlobalMemory, Report, SharedMemory
from tests.support.ptx.movement import land_copies
from tests.support.ptx.program import Program
from tests.support.ptx.runner import HANDLERS, Executor

THREADS = 64


def execute(text: str, blocks: int = 1, **buffers: np.ndarray) -> list[str]:
    """Run instructions for blocks of two warps; the faults.

    %rd10, %rd11 ... are the addresses of the buffers, %r10 the thread, %rd1 four times the thread,
    %r11 the block.
    """
    report = Report()
    memory = GlobalMemory(buffers, report)
    addresses = "".join(
        f"mov.u64 %rd{10 + number}, {memory.address(name)};\n"
        for number, name in enumerate(buffers)
    )
    begin = "mov.u32 %r10, %tid.x;\nmov.u32 %r11, %ctaid.x;\nmul.wide.u32 %rd1, %r10, 4;\n"
    program = Program(f".entry test() {{\n{addresses}{begin}{text}\nret;\n}}")
    clock = Clock()
    for number in range(blocks):
        special = {"%tid.x": np.arange(THREADS), "%ctaid.x": number}
        shared = SharedMemory(1024, report)
        block = Block(THREADS, {}, special, memory, shared, Actor(number, clock), report)
        with np.errstate(all="ignore"):
            Lockstep(block, program, HANDLERS).run()
            land_copies(block, 0)
    memory.copy_out()
    return [what for what, _ in report.faults]


def result_of(text: str, kind: str = "u32") -> np.ndarray:
    """What the instructions leave in %r1 of every thread; no fault."""
    out = np.zeros(THREADS, np.float32 if kind == "f32" else np.uint32)
    store = "add.u64 %rd2, %rd10, %rd1;\nst.global.b32 [%rd2], %r1;"
    assert not execute(text + store, out=out)
    return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mov.b32 %r2, 0xF0F0A5A5; shf.l.wrap.b32 %r1, %r2, %r2, 36;", 0x0F0A5A5F),
        ("mov.b32 %r2, 0x80000001; shr.s32 %r1, %r2, 40;", 0xFFFFFFFF),
        ("mov.b32 %r2, 0x80000001; shl.b32 %r1, %r2, 32;", 0),
        ("mov.b32 %r2, 0x0000F300; bfe.s32 %r1, %r2, 8, 4;", 3),
        ("mov.b32 %r2, 0x0000F800; bfe.s32 %r1, %r2, 8, 4;", 0xFFFFFFF8),
        ("mov.b32 %r2, 0x12345678; bfi.b32 %r1, 0xAB, %r2, 8, 8;", 0x1234AB78),
        ("mov.b32 %r2, 0x80FF7F01; prmt.b32 %r1, %r2, 0, 0x4ABB;", 0x00FFFFFF),
        ("mov.b32 %r2, 0xF0F0F0F0; lop3.b32 %r1, %r2, 0xCCCCCCCC, 0xAAAAAAAA, 0x96;", 0x96969696),
        ("mul.hi.u32 %r1, 0xFFFFFFFF, 0xFFFFFFFF;", 0xFFFFFFFE),
        ("mov.b32 %r2, -7; div.s32 %r1, %r2, 2;", 0xFFFFFFFD),
        ("mov.b32 %r2, -7; rem.s32 %r1, %r2, 2;", 0xFFFFFFFF),
        ("popc.b32 %r1, 0xF00F0001;", 9),
        ("clz.b32 %r1, 0x00010000;", 15),
        ("brev.b32 %r1, 0x80000001;", 0x80000001),
        ("mov.b32 %r2, 0x7FC00000; setp.neu.f32 %p1, %r2, %r2; selp.b32 %r1, 5, 6, %p1;", 5),
        ("mov.b32 %r2, 0x7FC00000; setp.ne.f32 %p1, %r2, %r2; selp.b32 %r1, 5, 6, %p1;", 6),
        ("cvt.rna.tf32.f32 %r1, 0f3F801000;", 0x3F802000),
        ("cvt.rna.tf32.f32 %r1, 0fBF800FFF;", 0xBF800000),
        ("cvt.rna.tf32.f32 %r1, 0f7F800001;", 0x7F800001),
        ("cvt.rn.bf16x2.f32 %r1, 0f3F808000, 0f3F818000;", 0x3F803F82),
        ("cvt.rzi.s32.f32 %r1, 0fC0200000;", 0xFFFFFFFE),
        ("cvt.rni.s32.f32 %r1, 0f40200000;", 2),
        ("fma.rn.f32 %r1, 0f3F800001, 0f3F800001, 0fBF800002;", 0x28800000),
        ("div.full.f32 %r1, 0f3F800000, 0f7E900000;", 0),
        ("mov.b64 %rd3, {0x1, 0x2}; mov.b64 {%r2, %r3}, %rd3; sub.s32 %r1, %r3, %r2;", 1),
        ("fma.rn.bf16x2 %r1, 0x3F803F80, 0x3FC04000, 0x3F803F80;", 0x40204040),
        ("max.f32 %r1, 0f3F800000, 0f40000000, 0f40400000;", 0x40400000),
        ("mov.b16 %rs1, 0x3FC0; fma.rn.f32.bf16 %r1, %rs1, %rs1, 0f3F800000;", 0x40500000),
        ("mov.b16 %rs1, 0x3FC0; sub.f32.bf16 %r1, %rs1, 0f3F800000;", 0x3F000000),
        ("setp.lt.s32 %p2, %r10, 0; @%p2 mov.b32 %r2, 1; selp.b32 %r1, %r2, 9, %p2;", 9),
        ("mov.b32 %r1, 1; @!%p1 mov.b32 %r1, 2;", None),
    ],
)
def test_arithmetic(text: str, expected: int | None) -> None:
    if expected is None:  # a guard: odd threads only
        text = "and.b32 %r4, %r10, 1; setp.eq.s32 %p1, %r4, 0;" + text
        assert result_of(text).tolist() == [1, 2] * (THREADS // 2)
    else:
        assert result_of(text).tolist() == [expected] * THREADS


def test_lanes_exchange_registers() -> None:
    lane = np.arange(THREADS) % 32
    shuffled = result_of("shfl.sync.bfly.b32 %r1, %r10, 5, 31, -1;")
    assert (shuffled % 32 == lane ^ 5).all()
    up = result_of("shfl.sync.up.b32 %r1|%p1, %r10, 3, 0, -1;") % 32
    assert (up == np.where(lane >= 3, lane - 3, lane)).all()
    total = result_of("redux.sync.max.s32 %r1, %r10, -1;")
    assert total.tolist() == [31] * 32 + [63] * 32
    votes = result_of("setp.eq.s32 %p1, %r10, 33; vote.sync.ballot.b32 %r1, %p1, -1;")
    assert votes.tolist() == [0] * 32 + [2] * 32


def test_threads_part_and_meet_again() -> None:
    text = (
        "and.b32 %r2, %r10, 1; setp.eq.s32 %p1, %r2, 0;\n@%p1 bra $A;\nmov.b32 %r1, 7;\n"
        "bra $B;\n$A: mov.b32 %r1, 8;\n$B: add.s32 %r1, %r1, 1;"
    )
    assert result_of(text).tolist() == [9, 8] * (THREADS // 2)


SHARED = "mul.lo.s32 %r5, %r10, 4; sub.s32 %r6, 252, %r5; st.shared.b32 [%r5], %r10;\n"
ORDER = "bar.sync 0;\n"


def test_warps_are_ordered_by_barriers() -> None:
    assert result_of(SHARED + ORDER + "ld.shared.b32 %r1, [%r6];")[0] == 63
    assert execute(SHARED + "ld.shared.b32 %r1, [%r6];")[0].startswith("a warp reads shared")
    late = ORDER + "ld.shared.b32 %r1, [%r6];\n st.shared.b32 [%r5], %r1;"
    assert execute(SHARED + late)[0].startswith("a warp writes shared")
    assert not execute(SHARED + late.replace("st.", ORDER + "st."))
    assert execute("st.shared.b32 [0], %r10;")[0].startswith("threads store different")


def test_blocks_are_ordered_by_nothing_but_atomic_operations() -> None:
    out, turns = np.zeros(THREADS, np.float32), np.zeros(4, np.int32)
    place = "add.u64 %rd2, %rd10, %rd1;\n"
    write = place + "st.global.b32 [%rd2], %r11;\n"
    read = place + "ld.global.b32 %r1, [%rd2];\n"
    assert execute(write, 2, out=out) == ["two blocks write one address"]
    first = "setp.eq.s32 %p1, %r11, 0;\n@%p1 bra $W;\n" + read + "ret;\n$W:" + write
    assert execute(first, 2, out=out) == ["a block reads what another one wrote"]
    arrive = "setp.eq.s32 %p2, %r10, 0;\n@%p2 atom.global.gpu.acq_rel.add.u32 %r7, [%rd11], 1;\n"
    written = write + ORDER + arrive + "ret;\n"
    ordered = "setp.ne.s32 %p1, %r11, 0;\n@%p1 bra $R;\n" + written + "$R:" + arrive
    assert not execute(ordered + ORDER + read, 2, out=out, turns=turns)
    assert turns[0] == 2
    # The thread that arrives last knows of the others; its block does after a barrier only.
    assert execute(ordered + read, 2, out=out, turns=turns)
    relaxed = ordered.replace("acq_rel", "relaxed")
    assert execute(relaxed + ORDER + read, 2, out=out, turns=turns)
    # What other warps wrote is released only if a barrier stands before.
    hasty = ordered.replace(write + ORDER, write)
    assert execute(hasty + ORDER + read, 2, out=out, turns=turns)


def test_accesses_outside_of_a_buffer_and_between_elements_are_found() -> None:
    out = np.zeros(THREADS, np.float32)
    with pytest.raises(AccessError, match="outside of the buffers"):
        execute("add.u64 %rd2, %rd10, %rd1;\nst.global.b32 [%rd2+4], %r10;", out=out)
    with pytest.raises(AccessError, match="no multiple"):
        execute("ld.global.b32 %r1, [%rd10+2];", out=out)
    with pytest.raises(AccessError, match="outside of shared"):
        execute("ld.shared.b32 %r1, [1024];")


def test_a_copy_lands_at_its_wait() -> None:
    x = np.arange(THREADS, dtype=np.uint32)
    copy = (
        "mul.lo.s32 %r5, %r10, 4;\nadd.u64 %rd2, %rd11, %rd1;\n"
        "cp.async.ca.shared.global [%r5], [%rd2], 4;\ncp.async.commit_group;\n"
    )
    read = "ld.shared.b32 %r1, [%r5];\nadd.u64 %rd3, %rd10, %rd1;\nst.global.b32 [%rd3], %r1;"
    for wait, landed in (("cp.async.wait_group 0;\n", True), ("cp.async.wait_group 1;\n", False)):
        out = np.zeros(THREADS, np.uint32)
        assert not execute(copy + wait + read, out=out, x=x)
        assert (out == (x if landed else 0xFFFFFFFF)).all()


def test_an_instruction_for_warps_that_a_part_reaches_is_found() -> None:
    begin = "setp.lt.s32 %p1, %r10, 40;\n@%p1 bra $A;\n"
    shuffle = "$A:shfl.sync.bfly.b32 %r1, %r10, 1, 31, -1;\n"
    assert not execute(f"{begin}ret;\n{shuffle}"), "those that have returned are not waited for"
    late = f"{begin}bra $B;\n{shuffle}$B:mov.b32 %r1, 1;"
    assert execute(late) == ["an instruction for whole warps is reached by a part of one"]
    assert not execute(late.replace("40", "32")), "whole warps may part"


def test_an_unknown_instruction_is_no_success() -> None:
    with pytest.raises(UnsupportedError, match="tcgen05"):
        execute("tcgen05.wait::ld.sync.aligned;")


@triton.jit
def _race(out, scratch, BEYOND: tl.constexpr):
    index = tl.arange(0, 64)
    tl.store(scratch + index, index.to(tl.float32))
    tl.store(out + index + BEYOND, tl.load(scratch + 63 - index))


def _seeded(beyond: int) -> GpuKernel:
    buffers = ("out", "scratch")
    return GpuKernel(
        "seeded",
        tuple(Parameter(name, "float32", (64,)) for name in buffers),
        (
            Launch(
                _race,
                (Grid(1), ONE, ONE),
                {name: Pointer(name, "fp32") for name in buffers},
                {"BEYOND": beyond},
                warps=2,
            ),
        ),
    )


def test_a_race_and_a_store_out_of_bounds_in_a_triton_kernel_are_found() -> None:
    buffers = {name: np.zeros(64, np.float32) for name in ("out", "scratch")}
    with pytest.raises(AssertionError, match="a warp reads global memory that another one wrote"):
        Executor(89).run(_seeded(0), buffers, {})
    with pytest.raises(AccessError, match="outside of the buffers"):
        Executor(89).run(_seeded(1), buffers, {})


def _without(*statements: str, of: str = ""):
    """Strike statements out of a function, or of every one."""

    def edit(text: str) -> str:
        if f".entry {of}" not in text:
            return text
        for statement in statements:
            assert statement in text, statement
            text = text.replace(statement, "")
        return text

    return edit


def test_a_barrier_that_is_struck_out_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).standard_normal((1, sample.VOCABULARY)).astype(np.float32)
    draw = [sample.Draw(1.0, 0.5, 3, 0.5)]
    monkeypatch.setattr(sample, "run", Executor(89).run)
    sample.chosen(logits, draw)
    monkeypatch.setattr(sample, "run", Executor(89, _without("bar.sync \t0;", of="choose")).run)
    with pytest.raises(AssertionError, match="no barrier since"):
        sample.chosen(logits, draw)


@pytest.mark.parametrize("space", ["shared", "global"])
@pytest.mark.parametrize(
    ("kind", "expected"), [("s8", -128), ("u8", 128), ("b8", 128), ("s16", -384), ("u16", 65152)]
)
def test_a_load_extends_what_its_register_is_wider_than(
    space: str, kind: str, expected: int
) -> None:
    place = "%r5" if space == "shared" else "%rd3"
    text = f"""
    mul.lo.u32 %r5, %r10, 4;
    add.u64 %rd3, %rd10, %rd1;
    mov.u32 %r6, 0xFE80;
    st.{space}.b32 [{place}], %r6;
    ld.{space}.{kind} %rs1, [{place}];
    cvt.s32.s16 %r1, %rs1;
    ld.{space}.{kind} %r2, [{place}];
    """
    word = np.int32(expected)
    narrow = np.int32(np.int16(word & 0xFFFF if word < 1 << 15 else word - (1 << 16)))
    assert (result_of(text).view(np.int32) == narrow).all()
    assert (result_of(text + "mov.b32 %r1, %r2;").view(np.int32) == word).all()


@pytest.mark.parametrize(
    ("architecture", "struck", "told"),
    [
        (89, "cp.async.wait_group 0x0;", None),
        (90, "wgmma.wait_group.sync.aligned 0;", "before wgmma has been waited for"),
        (90, "fence.proxy.async.shared::cta;", "no fence has shown"),
        (90, "wgmma.fence.sync.aligned;", "after the last wgmma.fence"),
    ],
)
def test_a_wait_that_is_struck_out_is_missed(
    architecture: int, struck: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = linear.in_form(linear.PLAIN["even"], "rows" if architecture == 89 else "tiles")
    problem = linear.Problem(spec, 19)
    schedule = linear.WHOLE if architecture == 89 else linear.replace(linear.TILES, rows=64)
    monkeypatch.setattr(linear, "run", Executor(architecture).run)
    linear.check(problem, problem.run(schedule))
    monkeypatch.setattr(linear, "run", Executor(architecture, _without(struck)).run)
    with pytest.raises(AssertionError, match=told):
        linear.check(problem, problem.run(schedule))
