"""The time model of GPU kernels: counts of machine code that was written by hand."""

from dataclasses import replace

import pytest

from benchmarks.gpu.cards import CARDS
from benchmarks.gpu.floors import floor_seconds
from benchmarks.gpu.launch_bounds import predict, resident_blocks
from benchmarks.gpu.released import Call
from benchmarks.gpu.sass import Counts, parse
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.work import Case, Work, union_length, work_of
from sala_compile.codegen.gpu_code.cubin import Cubin
from sala_compile.codegen.kernels.triton.kernel import GpuKernel, Parameter

STRAIGHT = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   ISETP.GE.AND P0, PT, R0, R3, PT ;
        /*0020*/               @P0 EXIT ;
        /*0030*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0040*/                   FADD R4, R4, R5 ;
        /*0050*/                   STG.E.U16 desc[UR4][R2.64], R4 ;
        /*0060*/                   EXIT ;
.L_x_0:
        /*0070*/                   BRA `(.L_x_0);
"""
NESTED = """
        /*0000*/                   MOV R1, R2 ;
.L_x_1:
        /*0010*/                   MUFU.EX2 R3, R4 ;
.L_x_2:
        /*0020*/                   LOP3.LUT R5, R5, 0xf, RZ, 0xc0, !PT ;
        /*0030*/                   LDSM.16.M88.4 R8, [R9] ;
        /*0040*/               @P1 BRA `(.L_x_2) ;
        /*0050*/                   HMMA.16816.F32.BF16 R8, R4, R6, R8 ;
        /*0060*/              @!P0 BRA `(.L_x_1) ;
        /*0070*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24 ;
        /*0080*/                   EXIT ;
$__internal_0_$__cuda_sm3x_div_rn_noftz_f32_slowpath:
        /*0090*/                   FMUL R1, R1, R1 ;
"""


def test_straight_code_is_counted_once() -> None:
    counts = parse(STRAIGHT).count([], products=True)
    assert counts.issue == 8
    assert counts.integer == 1
    assert counts.moved == 32 * 16 + 32 * 2
    assert parse(STRAIGHT).first_exit().issue == 3


def test_loops_are_counted_by_their_turns() -> None:
    code = parse(NESTED)
    assert [len(loop.inner) for loop in code.loops] == [1]
    counts = code.count([(5, [7.0])], products=False)
    assert counts.issue == 3 + 5 * (3 + 7 * 3)
    assert counts.special == 5
    assert counts.integer == 35
    assert counts.shared == 35 * 4
    assert counts.narrow == 5 * 4096
    assert counts.wide == 2 * 64 * 128 * 16 / 4
    assert code.count([5], products=True).issue == 3 + 5 * (3 + 3)


def test_tf32_counts_twice() -> None:
    tf32 = NESTED.replace("16816.F32.BF16", "1688.F32.TF32")
    assert parse(tf32).count([1], products=True).narrow == 2 * 2048


@pytest.mark.parametrize("trips", [[], [1, 2], [(1, [2.0, 3.0])]])
def test_turns_that_do_not_fit_are_refused(trips) -> None:
    with pytest.raises(ValueError, match="numbers of turns"):
        parse(NESTED).count(trips, products=False)


CUBIN = Cubin(b"", "k", threads=256, shared_bytes=60 << 10, registers=100, spill_bytes=0)
CARD = CARDS["H200"]


def test_blocks_of_a_multiprocessor() -> None:
    assert resident_blocks(CUBIN, CARD) == 2  # 104 registers of 256 threads
    assert resident_blocks(replace(CUBIN, registers=32), CARD) == 3  # shared memory
    assert resident_blocks(replace(CUBIN, registers=32, shared_bytes=0), CARD) == 8  # threads


def test_the_busiest_multiprocessor_bounds_the_code() -> None:
    counts = Counts(issue=1000)
    one, _, _ = predict(counts, CUBIN, CARD.processors, Work(), CARD)
    two, _, _ = predict(counts, CUBIN, CARD.processors + 1, Work(), CARD)
    assert one["issue"] == pytest.approx(2000 / CARD.hertz)
    assert two["issue"] == pytest.approx(2 * one["issue"])


def test_blocks_hide_what_bounds_less() -> None:
    counts = Counts(issue=1000, wide=2e6)
    bounds, resident, alone = predict(counts, CUBIN, CARD.processors, Work(), CARD)
    fixed = CARD.gap + CARD.ramp
    assert resident == 2
    assert alone - fixed == pytest.approx(bounds["issue"] + bounds["tensor"])
    bounds, _, shared = predict(counts, CUBIN, 2 * CARD.processors, Work(), CARD)
    longest, other = max(bounds.values()), bounds["issue"]
    assert shared - fixed == pytest.approx(longest + other / 2)


def test_memory_bounds_what_it_must() -> None:
    bounds, _, seconds = predict(Counts(issue=1), CUBIN, 132, Work(dram=4.3e9, l2=1.1e9), CARD)
    assert bounds["dram"] == pytest.approx(1e-3)
    assert bounds["l2"] == pytest.approx(4.3e9 / CARD.l2)
    assert seconds == pytest.approx(1e-3 + CARD.gap + CARD.ramp)


def test_a_decoded_token_reads_a_row_of_its_embedding() -> None:
    sizes, case = Sizes.released(), Case(1, 1 << 16, 64, 96)
    matrix = GpuKernel("k", (Parameter("weight", "uint16", (73448, 4096)),), ())
    linear, embedding = (Call(matrix, family, 1) for family in ("linear", "embedding"))
    least = floor_seconds([], "decode", sizes, case, CARD)
    assert floor_seconds([embedding], "decode", sizes, case, CARD) == least
    added = floor_seconds([linear], "decode", sizes, case, CARD) - least
    assert added == pytest.approx(73448 * 4096 * 2 / CARD.dram)


def test_few_programs_take_no_more_than_their_multiprocessors() -> None:
    bounds, _, seconds = predict(Counts(issue=1), CUBIN, 4, Work(dram=1e8, l2=1e8), CARD)
    assert bounds["port"] == pytest.approx(25e6 / (64 * CARD.hertz))
    assert seconds > bounds["port"] > bounds["dram"]


def test_a_past_without_lists_is_read_whole() -> None:
    case = Case(1, 1 << 16, 64, 0)
    constants = {"LISTS": False, "SPLITS": 128}
    assert work_of("attend_split", constants, case, 256, 0.0).trips == [1024 / 128]


def test_unions_grow_with_their_queries() -> None:
    case = Case(8192, 1 << 19, 64, 96)
    assert union_length(1, case) == 96
    assert union_length(8, case) == pytest.approx(192, abs=0.5)
    constants = {"QUERIES": 8, "BLOCK": 64, "D": 128, "KV_HEADS": 2, "GROUP": 16}
    work = work_of("attend_union", constants, case, 2048, 0.0)
    assert work.trips == [union_length(8, case)]
    assert work.l2 == pytest.approx(2048 * union_length(8, case) * 64 * 128 * 4)
    assert work_of("something_else", {}, case, 1, 0.0) == Work()
