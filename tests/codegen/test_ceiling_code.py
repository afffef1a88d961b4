"""The machine code of the ceilings multiplies as often as the rates of `sala-bench` take it to."""

import re
from collections import Counter
from dataclasses import dataclass

import pytest

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.ceiling_kernels import PACKS, arithmetic_kernel
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.runtime.artifact.ceilings import OPERATIONS, Ceiling

PROCESSORS = (
    *("x86-64-v3", "skylake-avx512", "cascadelake", "alderlake", "znver4", "znver5"),
    "sapphirerapids+noamx",
)
"""Without and with products of pairs and of bytes as one instruction, of both widths."""
PRODUCTS = {
    Ceiling.FLOAT32: {"vfmadd": 1},
    Ceiling.BFLOAT16: {"vdpbf16ps": 1},
    Ceiling.INT16: {"vpdpwssd": 1, "vpmaddwd": 1},
    Ceiling.INT8: {"vpdpbusd": 1, "vpmaddwd": 2},
}
"""Instructions that multiply, by their beginnings: how many of them stand for one of the kind.

Where no instruction has four products of bytes, they are two of pairs of 16 bits.
"""
_LABEL, _JUMP = re.compile(r"(\.L\w+):"), re.compile(r"\s+j\w+\s+(\.L\w+)")
_CODE = re.compile(r"\s+(?:\{\w+\}\s+)?([a-z]\w*)")
_COUNTER = re.compile(r"\s+(?:decl\s+|addl\s+\$-(\d+), )(%\w+)")


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop without another one in it: its instructions and how often they run."""

    instructions: Counter[str]
    trips: int


def innermost(text: str) -> list[Loop]:
    """The loops of assembler code that count a register down from a constant."""
    lines = text.splitlines()
    labels = {found[1]: at for at, line in enumerate(lines) if (found := _LABEL.match(line))}
    loops: list[Loop] = []
    for end, line in enumerate(lines):
        jump = _JUMP.match(line)
        begin = labels.get(jump[1], end) if jump else end
        body = lines[begin + 1 : end]
        if begin == end or any(_LABEL.match(each) or _JUMP.match(each) for each in body):
            continue
        before = "\n".join(lines[: begin + 1])
        codes = [found for each in body if (found := _CODE.match(each))]
        counters = [found for each in body if (found := _COUNTER.match(each))]
        starts = [re.findall(rf"movl\s+\$(\d+), {each[2]}\n", before) for each in counters]
        if len(counters) == 1 and starts[0]:
            names = Counter(each[1] for each in codes)
            loops.append(Loop(names, int(starts[0][-1]) // int(counters[0][1] or 1)))
    return loops


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_no_product_is_folded_away(processor: str, kind: Ceiling):
    """As many products run as the rate is computed from."""
    target = CpuTarget.parse(f"cpu:{processor}")
    if kind is Ceiling.BFLOAT16 and not target.has_fast_bf16_dot:
        pytest.skip("no artifact for it has this ceiling")
    built = compile_functions({kind.value: arithmetic_kernel(target, kind)}, target)
    loops = innermost(built.mod.inspect_source("asm"))
    lanes = target.vector_bits // 32
    counts = [_products(loop, kind) * loop.trips for loop in loops]
    operations = max(counts) * lanes * PACKS[kind] * 2
    assert operations == pytest.approx(OPERATIONS, rel=1e-3)


def _products(loop: Loop, kind: Ceiling) -> float:
    """Vectors of products of a kind in one run of a loop."""
    return sum(
        count / per
        for start, per in PRODUCTS[kind].items()
        for name, count in loop.instructions.items()
        if name.startswith(start)
    )


def test_a_folded_loop_is_seen():
    """What LLVM made of products of constants: additions alone."""
    code = "\n".join(["\tmovl\t$100, %ecx", ".LBB0_1:", "\tvpaddd\t%ymm1, %ymm0, %ymm0"])
    code += "\n\tdecl\t%ecx\n\tjne\t.LBB0_1\n"
    (loop,) = innermost(code)
    assert loop.trips == 100
    assert _products(loop, Ceiling.INT8) == 0
    (loop,) = innermost(code.replace("vpaddd", "vpmaddwd"))
    assert _products(loop, Ceiling.INT8) == 0.5
    assert _products(loop, Ceiling.INT16) == 1
