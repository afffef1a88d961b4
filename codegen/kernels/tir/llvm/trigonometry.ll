; Cosine and sine of float32 angles up to 2^20 rad, rounded once: reduced and evaluated in double.
; Fdlibm: x - n pi/2 with pi/2 in two parts, then the polynomials of |r| <= pi/4.

declare <16 x double> @llvm.roundeven.v16f64(<16 x double>)
declare <16 x double> @llvm.fmuladd.v16f64(<16 x double>, <16 x double>, <16 x double>)

define <16 x double> @sala_quadrant(<16 x float> %x) {
  %w = fpext <16 x float> %x to <16 x double>
  %t = fmul <16 x double> %w, splat (double 0x3FE45F306DC9C883)
  %n = call <16 x double> @llvm.roundeven.v16f64(<16 x double> %t)
  ret <16 x double> %n
}
define <16 x double> @sala_reduced(<16 x float> %x, <16 x double> %n) {
  %w = fpext <16 x float> %x to <16 x double>
  %h = fmul <16 x double> %n, splat (double 0x3FF921FB54400000)
  %a = fsub <16 x double> %w, %h
  %l = fmul <16 x double> %n, splat (double 0x3DD0B4611A626331)
  %r = fsub <16 x double> %a, %l
  ret <16 x double> %r
}
define <16 x double> @sala_sin_polynomial(<16 x double> %r) {
  %z = fmul <16 x double> %r, %r
  %p1 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> splat (double 0x3DE5D93A5ACFD57C), <16 x double> %z, <16 x double> splat (double 0xBE5AE5E68A2B9CEB))
  %p2 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p1, <16 x double> %z, <16 x double> splat (double 0x3EC71DE357B1FE7D))
  %p3 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p2, <16 x double> %z, <16 x double> splat (double 0xBF2A01A019C161D5))
  %p4 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p3, <16 x double> %z, <16 x double> splat (double 0x3F8111111110F8A6))
  %p5 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p4, <16 x double> %z, <16 x double> splat (double 0xBFC5555555555549))
  %rz = fmul <16 x double> %r, %z
  %s = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p5, <16 x double> %rz, <16 x double> %r)
  ret <16 x double> %s
}
define <16 x double> @sala_cos_polynomial(<16 x double> %r) {
  %z = fmul <16 x double> %r, %r
  %p1 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> splat (double 0xBDA8FAE9BE8838D4), <16 x double> %z, <16 x double> splat (double 0x3E21EE9EBDB4B1C4))
  %p2 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p1, <16 x double> %z, <16 x double> splat (double 0xBE927E4F809C52AD))
  %p3 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p2, <16 x double> %z, <16 x double> splat (double 0x3EFA01A019CB1590))
  %p4 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p3, <16 x double> %z, <16 x double> splat (double 0xBF56C16C16C15177))
  %p5 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p4, <16 x double> %z, <16 x double> splat (double 0x3FA555555555554C))
  %p6 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p5, <16 x double> %z, <16 x double> splat (double -5.000000e-01))
  %c = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p6, <16 x double> %z, <16 x double> splat (double 1.0))
  ret <16 x double> %c
}
define <16 x float> @sala_rotated(<16 x float> %x, i32 %turn) {
  %n = call <16 x double> @sala_quadrant(<16 x float> %x)
  %r = call <16 x double> @sala_reduced(<16 x float> %x, <16 x double> %n)
  %s = call <16 x double> @sala_sin_polynomial(<16 x double> %r)
  %c = call <16 x double> @sala_cos_polynomial(<16 x double> %r)
  %ni = fptosi <16 x double> %n to <16 x i32>
  %t0 = insertelement <16 x i32> poison, i32 %turn, i32 0
  %t = shufflevector <16 x i32> %t0, <16 x i32> poison, <16 x i32> zeroinitializer
  %q = add <16 x i32> %ni, %t
  %odd = and <16 x i32> %q, splat (i32 1)
  %two = and <16 x i32> %q, splat (i32 2)
  %swap = icmp ne <16 x i32> %odd, zeroinitializer
  %flip = icmp ne <16 x i32> %two, zeroinitializer
  %v = select <16 x i1> %swap, <16 x double> %c, <16 x double> %s
  %m = fneg <16 x double> %v
  %w = select <16 x i1> %flip, <16 x double> %m, <16 x double> %v
  %o = fptrunc <16 x double> %w to <16 x float>
  ret <16 x float> %o
}
define <16 x float> @sala_sin(<16 x float> %x) {
  %r = call <16 x float> @sala_rotated(<16 x float> %x, i32 0)
  ret <16 x float> %r
}
define <16 x float> @sala_cos(<16 x float> %x) {
  %r = call <16 x float> @sala_rotated(<16 x float> %x, i32 1)
  ret <16 x float> %r
}
