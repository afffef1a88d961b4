; e^x, 1 / (1 + e^-x) and x / (1 + e^-x). Cephes expf: n = round(x / ln 2), ln 2 in two parts
; (0.693359375 - 2.12194440e-4), polynomial of r = x - n ln 2, exponent added to the bits.
; Range: 0 below -87.33, constant above 88.37.

define <16 x float> @sala_exp(<16 x float> %x) {
  %low = fcmp olt <16 x float> %x, splat (float 0xC055D51EC0000000)
  %high = fcmp ogt <16 x float> %x, splat (float 0x405617AE20000000)
  %x1 = select <16 x i1> %low, <16 x float> splat (float 0xC055D51EC0000000), <16 x float> %x
  %x2 = select <16 x i1> %high, <16 x float> splat (float 0x405617AE20000000), <16 x float> %x1
  %t = fmul <16 x float> %x2, splat (float 0x3FF7154760000000)
  %n = call <16 x float> @llvm.roundeven.v16f32(<16 x float> %t)
  %r1 = call <16 x float> @sala_fma(<16 x float> %n, <16 x float> splat (float 0xBFE6300000000000), <16 x float> %x2)
  %r = call <16 x float> @sala_fma(<16 x float> %n, <16 x float> splat (float 0x3F2BD01060000000), <16 x float> %r1)
  %p1 = call <16 x float> @sala_fma(<16 x float> splat (float 0x3F2A0D2CE0000000), <16 x float> %r, <16 x float> splat (float 0x3F56E879C0000000))
  %p2 = call <16 x float> @sala_fma(<16 x float> %p1, <16 x float> %r, <16 x float> splat (float 0x3F81112100000000))
  %p3 = call <16 x float> @sala_fma(<16 x float> %p2, <16 x float> %r, <16 x float> splat (float 0x3FA5553820000000))
  %p4 = call <16 x float> @sala_fma(<16 x float> %p3, <16 x float> %r, <16 x float> splat (float 0x3FC5555540000000))
  %p5 = call <16 x float> @sala_fma(<16 x float> %p4, <16 x float> %r, <16 x float> splat (float 0x3FE0000000000000))
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
