"""Vector functions as LLVM IR text, for each target; `vector.py` calls them by name.

A vector is always 16 floats: LLVM splits it where registers are shorter. TVM inlines every
function, so a call costs nothing. The text for a target differs only where instructions do: dot
products of pairs and of bytes, the rounding to bf16, the widening of float16, and powers of 2. It
is in `llvm/*.ll`.
"""

import struct
from functools import cache
from importlib.resources import files

import numpy as np

from sala_compile.codegen.targets.cpu import CpuTarget


@cache
def shims(target: CpuTarget) -> str:
    """Return the LLVM IR text that kernels for `target` import."""
    dot = "instruction" if target.has_fast_bf16_dot else "portable"
    rounding = "instruction" if target.has_avx512_bf16 else "portable"
    scaling = "instruction" if target.has_avx512 else "portable"
    half = "instruction" if target.has_f16c else "portable"
    names = ("vector", "exp", "exp2_polynomial", f"exp2_{scaling}", "trigonometry", "log")
    names += (f"dot_bf16_{dot}", f"to_bf16_{rounding}")
    names += (f"dot_i16_{target.vector_bits}", f"from_f16_{half}", "bytes", *_byte_dots(target))
    parts = [*map(_text, names), _sum(), _largest()]
    return "\n".join(parts).replace("MULTIPLY_ADD", "fma" if target.has_fma else "fmuladd")


def _byte_dots(target: CpuTarget) -> tuple[str, str]:
    """The products of bytes, and of integers of up to 6 bits in bytes."""
    bits = target.vector_bits
    if target.has_byte_dot:
        return f"dot_u8_vnni_{bits}", "dot_u6_as_u8"
    return "dot_u8_pairs", "dot_u6_as_u8" if bits == 128 else f"dot_u6_words_{bits}"


@cache
def tile_shims() -> str:
    """Return the LLVM IR text of products of tiles, for kernels that require AMX."""
    return _text("amx")


def float32_constant(value: float) -> str:
    """Return a float32 constant as LLVM writes it: the bits of the equal double."""
    return f"0x{struct.pack('>d', float(np.float32(value))).hex().upper()}"


@cache
def _text(name: str) -> str:
    return (
        files("sala_compile.codegen.kernels.tir")
        .joinpath("llvm", f"{name}.ll")
        .read_text(encoding="utf-8")
    )


def _sum() -> str:
    """Return the function that adds the lanes of a vector."""
    text = _text("reduction").replace("NAME", "sum")
    for width in (8, 4, 2, 1):
        kind = f"<{width} x float>" if width > 1 else "float"
        text = text.replace(f"COMBINE{width}", f"%s{width} = fadd {kind} %l{width}, %h{width}")
    return text


def _largest() -> str:
    """Return the function that finds the largest lane of a vector."""
    text = _text("reduction").replace("NAME", "largest")
    for width in (8, 4, 2, 1):
        kind, mask = (f"<{width} x float>", f"<{width} x i1>") if width > 1 else ("float", "i1")
        combine = (
            f"%c{width} = fcmp ogt {kind} %l{width}, %h{width}\n"
            f"  %s{width} = select {mask} %c{width}, {kind} %l{width}, {kind} %h{width}"
        )
        text = text.replace(f"COMBINE{width}", combine)
    return text
