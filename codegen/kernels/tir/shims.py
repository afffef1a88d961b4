"""Vector functions as LLVM IR text, for each target; `vector.py` calls them by name.

A vector is always 16 floats: LLVM splits it where registers are shorter. TVM inlines every
function, so a call costs nothing. The text for a target differs only where instructions do: the
dot product of bf16 pairs and the rounding to bf16.
"""

import struct
from functools import cache
from string import Template

import numpy as np

from codegen.targets.cpu import CpuTarget

COMMON = r"""
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare <16 x float> @llvm.MULTIPLY_ADD.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare <16 x float> @llvm.roundeven.v16f32(<16 x float>)
declare <16 x float> @llvm.sqrt.v16f32(<16 x float>)
declare <16 x float> @llvm.masked.load.v16f32.p0(ptr, i32, <16 x i1>, <16 x float>)
declare <16 x i16> @llvm.masked.load.v16i16.p0(ptr, i32, <16 x i1>, <16 x i16>)
declare void @llvm.masked.store.v16f32.p0(<16 x float>, ptr, i32, <16 x i1>)
declare void @llvm.masked.store.v16i16.p0(<16 x i16>, ptr, i32, <16 x i1>)

define void @sala_prefetch(ptr %p) {
  call void @llvm.prefetch.p0(ptr %p, i32 0, i32 3, i32 1)
  ret void
}
define <16 x float> @sala_fma(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
  %r = call <16 x float> @llvm.MULTIPLY_ADD.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
  ret <16 x float> %r
}
define <16 x float> @sala_max(<16 x float> %a, <16 x float> %b) {
  %c = fcmp ogt <16 x float> %a, %b
  %r = select <16 x i1> %c, <16 x float> %a, <16 x float> %b
  ret <16 x float> %r
}
define <16 x float> @sala_first_lanes(<16 x float> %a, i32 %count, <16 x float> %other) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  %r = select <16 x i1> %m, <16 x float> %a, <16 x float> %other
  ret <16 x float> %r
}
define <16 x i1> @sala_mask(i32 %count) alwaysinline {
  %s = insertelement <16 x i32> poison, i32 %count, i32 0
  %v = shufflevector <16 x i32> %s, <16 x i32> poison, <16 x i32> zeroinitializer
  %m = icmp slt <16 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>, %v
  ret <16 x i1> %m
}
define <16 x float> @sala_load_f32(ptr %p, i32 %count) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  %r = call <16 x float> @llvm.masked.load.v16f32.p0(ptr %p, i32 4, <16 x i1> %m, <16 x float> zeroinitializer)
  ret <16 x float> %r
}
define <16 x i16> @sala_load_u16(ptr %p, i32 %count) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  %r = call <16 x i16> @llvm.masked.load.v16i16.p0(ptr %p, i32 2, <16 x i1> %m, <16 x i16> zeroinitializer)
  ret <16 x i16> %r
}
define void @sala_store_f32(ptr %p, i32 %count, <16 x float> %v) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  call void @llvm.masked.store.v16f32.p0(<16 x float> %v, ptr %p, i32 4, <16 x i1> %m)
  ret void
}
define void @sala_store_u16(ptr %p, i32 %count, <16 x i16> %v) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  call void @llvm.masked.store.v16i16.p0(<16 x i16> %v, ptr %p, i32 2, <16 x i1> %m)
  ret void
}
define <16 x float> @sala_from_bf16(<16 x i16> %a) {
  %w = zext <16 x i16> %a to <16 x i32>
  %s = shl <16 x i32> %w, splat (i32 16)
  %r = bitcast <16 x i32> %s to <16 x float>
  ret <16 x float> %r
}
"""

REDUCTIONS = r"""
define float @sala_NAME(<16 x float> %a) {
  %h8 = shufflevector <16 x float> %a, <16 x float> poison, <8 x i32> <i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>
  %l8 = shufflevector <16 x float> %a, <16 x float> poison, <8 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7>
  COMBINE8
  %h4 = shufflevector <8 x float> %s8, <8 x float> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %l4 = shufflevector <8 x float> %s8, <8 x float> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  COMBINE4
  %h2 = shufflevector <4 x float> %s4, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %l2 = shufflevector <4 x float> %s4, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  COMBINE2
  %h1 = extractelement <2 x float> %s2, i32 1
  %l1 = extractelement <2 x float> %s2, i32 0
  COMBINE1
  ret float %s1
}
"""

EXP = r"""
define <16 x float> @sala_exp(<16 x float> %x) {
  %low = fcmp olt <16 x float> %x, splat (float $LOWEST)
  %high = fcmp ogt <16 x float> %x, splat (float $HIGHEST)
  %x1 = select <16 x i1> %low, <16 x float> splat (float $LOWEST), <16 x float> %x
  %x2 = select <16 x i1> %high, <16 x float> splat (float $HIGHEST), <16 x float> %x1
  %t = fmul <16 x float> %x2, splat (float $LOG2_E)
  %n = call <16 x float> @llvm.roundeven.v16f32(<16 x float> %t)
  %r1 = call <16 x float> @sala_fma(<16 x float> %n, <16 x float> splat (float $MINUS_LN2_HIGH), <16 x float> %x2)
  %r = call <16 x float> @sala_fma(<16 x float> %n, <16 x float> splat (float $MINUS_LN2_LOW), <16 x float> %r1)
  %p1 = call <16 x float> @sala_fma(<16 x float> splat (float $C7), <16 x float> %r, <16 x float> splat (float $C6))
  %p2 = call <16 x float> @sala_fma(<16 x float> %p1, <16 x float> %r, <16 x float> splat (float $C5))
  %p3 = call <16 x float> @sala_fma(<16 x float> %p2, <16 x float> %r, <16 x float> splat (float $C4))
  %p4 = call <16 x float> @sala_fma(<16 x float> %p3, <16 x float> %r, <16 x float> splat (float $C3))
  %p5 = call <16 x float> @sala_fma(<16 x float> %p4, <16 x float> %r, <16 x float> splat (float $C2))
  %r2 = fmul <16 x float> %r, %r
  %q = call <16 x float> @sala_fma(<16 x float> %p5, <16 x float> %r2, <16 x float> %r)
  %p = fadd <16 x float> %q, splat (float 1.0)
  %ni = fptosi <16 x float> %n to <16 x i32>
  %sh = shl <16 x i32> %ni, splat (i32 23)
  %pi = bitcast <16 x float> %p to <16 x i32>
  %oi = add <16 x i32> %pi, %sh
  %o = bitcast <16 x i32> %oi to <16 x float>
  %o1 = select <16 x i1> %low, <16 x float> zeroinitializer, <16 x float> %o
  %nan = fcmp uno <16 x float> %x, %x
  %o2 = select <16 x i1> %nan, <16 x float> %x, <16 x float> %o1
  ret <16 x float> %o2
}
define <16 x float> @sala_sigmoid(<16 x float> %x) {
  %m = fneg <16 x float> %x
  %e = call <16 x float> @sala_exp(<16 x float> %m)
  %d = fadd <16 x float> %e, splat (float 1.0)
  %r = fdiv <16 x float> splat (float 1.0), %d
  ret <16 x float> %r
}
define <16 x float> @sala_silu(<16 x float> %x) {
  %s = call <16 x float> @sala_sigmoid(<16 x float> %x)
  %r = fmul <16 x float> %x, %s
  ret <16 x float> %r
}
"""

EXP_CONSTANTS = {
    "LOWEST": -87.33,
    "HIGHEST": 88.37,
    "LOG2_E": 1.44269504088896341,
    "MINUS_LN2_HIGH": -0.693359375,
    "MINUS_LN2_LOW": 2.12194440e-4,
    "C7": 1.9875691500e-4,
    "C6": 1.3981999507e-3,
    "C5": 8.3334519073e-3,
    "C4": 4.1665795894e-2,
    "C3": 1.6666665459e-1,
    "C2": 5.0000001201e-1,
}
"""Range, two-step ln 2, and the minimax polynomial of e^r on |r| <= ln(2) / 2 (Cephes expf)."""

BF16_INSTRUCTIONS = r"""
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
declare <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16.512(<16 x float>)

define <16 x float> @sala_dot_bf16(<16 x float> %c, <32 x i16> %a, <32 x i16> %b) {
  %x = bitcast <32 x i16> %a to <32 x bfloat>
  %y = bitcast <32 x i16> %b to <32 x bfloat>
  %r = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float> %c, <32 x bfloat> %x, <32 x bfloat> %y)
  ret <16 x float> %r
}
define <16 x i16> @sala_to_bf16(<16 x float> %a) {
  %b = call <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16.512(<16 x float> %a)
  %r = bitcast <16 x bfloat> %b to <16 x i16>
  ret <16 x i16> %r
}
"""

BF16_PORTABLE = r"""
define <16 x float> @sala_dot_bf16(<16 x float> %c, <32 x i16> %a, <32 x i16> %b) {
  %ai = bitcast <32 x i16> %a to <16 x i32>
  %bi = bitcast <32 x i16> %b to <16 x i32>
  %al = shl <16 x i32> %ai, splat (i32 16)
  %bl = shl <16 x i32> %bi, splat (i32 16)
  %ah = and <16 x i32> %ai, splat (i32 -65536)
  %bh = and <16 x i32> %bi, splat (i32 -65536)
  %alf = bitcast <16 x i32> %al to <16 x float>
  %blf = bitcast <16 x i32> %bl to <16 x float>
  %ahf = bitcast <16 x i32> %ah to <16 x float>
  %bhf = bitcast <16 x i32> %bh to <16 x float>
  %r0 = call <16 x float> @sala_fma(<16 x float> %ahf, <16 x float> %bhf, <16 x float> %c)
  %r1 = call <16 x float> @sala_fma(<16 x float> %alf, <16 x float> %blf, <16 x float> %r0)
  ret <16 x float> %r1
}
define <16 x i16> @sala_to_bf16(<16 x float> %a) {
  %x = bitcast <16 x float> %a to <16 x i32>
  %odd0 = lshr <16 x i32> %x, splat (i32 16)
  %odd = and <16 x i32> %odd0, splat (i32 1)
  %half = add <16 x i32> %odd, splat (i32 32767)
  %rounded = add <16 x i32> %x, %half
  %exponent = and <16 x i32> %x, splat (i32 2139095040)
  %tiny = icmp eq <16 x i32> %exponent, zeroinitializer
  %sign = and <16 x i32> %x, splat (i32 -2147483648)
  %flushed = select <16 x i1> %tiny, <16 x i32> %sign, <16 x i32> %rounded
  %nan = fcmp uno <16 x float> %a, %a
  %quiet = or <16 x i32> %x, splat (i32 4194304)
  %final = select <16 x i1> %nan, <16 x i32> %quiet, <16 x i32> %flushed
  %high = lshr <16 x i32> %final, splat (i32 16)
  %r = trunc <16 x i32> %high to <16 x i16>
  ret <16 x i16> %r
}
"""


@cache
def shims(target: CpuTarget) -> str:
    """Return the LLVM IR text that kernels for `target` import."""
    exp = Template(EXP).substitute({k: _float32(v) for k, v in EXP_CONSTANTS.items()})
    text = COMMON + exp + _reduction("sum", "fadd") + _reduction("largest", None)
    text += BF16_INSTRUCTIONS if target.has_avx512_bf16 else BF16_PORTABLE
    return text.replace("MULTIPLY_ADD", "fma" if target.has_fma else "fmuladd")


def _float32(value: float) -> str:
    """Return a float32 constant as LLVM writes it: the bits of the equal double."""
    return f"0x{struct.pack('>d', float(np.float32(value))).hex().upper()}"


def _reduction(name: str, instruction: str | None) -> str:
    """Return a function that folds the halves of a vector onto each other: one fixed order."""
    text = REDUCTIONS.replace("NAME", name)
    for width in (8, 4, 2, 1):
        kind = f"<{width} x float>" if width > 1 else "float"
        mask = f"<{width} x i1>" if width > 1 else "i1"
        if instruction:
            combine = f"%s{width} = {instruction} {kind} %l{width}, %h{width}"
        else:
            combine = (
                f"%c{width} = fcmp ogt {kind} %l{width}, %h{width}\n"
                f"  %s{width} = select {mask} %c{width}, {kind} %l{width}, {kind} %h{width}"
            )
        text = text.replace(f"COMBINE{width}", combine)
    return text
