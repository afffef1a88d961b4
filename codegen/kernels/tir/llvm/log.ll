; Natural logarithm of normal positive float32 values, rounded once: evaluated in double.
; Fdlibm: x = 2^k m with m from sqrt(1/2) to sqrt(2), s = (m - 1) / (m + 1), a polynomial of s^2.

define <16 x float> @sala_log(<16 x float> %x) {
  %w = fpext <16 x float> %x to <16 x double>
  %b = bitcast <16 x double> %w to <16 x i64>
  %o = sub <16 x i64> %b, splat (i64 4604544271217802189)
  %k = ashr <16 x i64> %o, splat (i64 52)
  %e = shl <16 x i64> %k, splat (i64 52)
  %mb = sub <16 x i64> %b, %e
  %m = bitcast <16 x i64> %mb to <16 x double>
  %ki = trunc <16 x i64> %k to <16 x i32>
  %kd = sitofp <16 x i32> %ki to <16 x double>
  %f = fsub <16 x double> %m, splat (double 1.0)
  %g = fadd <16 x double> %m, splat (double 1.0)
  %s = fdiv <16 x double> %f, %g
  %z = fmul <16 x double> %s, %s
  %p5 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> splat (double 0x3FC2F112DF3E5244), <16 x double> %z, <16 x double> splat (double 0x3FC39A09D078C69F))
  %p4 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p5, <16 x double> %z, <16 x double> splat (double 0x3FC7466496CB03DE))
  %p3 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p4, <16 x double> %z, <16 x double> splat (double 0x3FCC71C51D8E78AF))
  %p2 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p3, <16 x double> %z, <16 x double> splat (double 0x3FD2492494229359))
  %p1 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p2, <16 x double> %z, <16 x double> splat (double 0x3FD999999997FA04))
  %p0 = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %p1, <16 x double> %z, <16 x double> splat (double 0x3FE5555555555593))
  %r = fmul <16 x double> %p0, %z
  %t = fadd <16 x double> %r, splat (double 2.0)
  %a = fmul <16 x double> %s, %t
  %y = call <16 x double> @llvm.fmuladd.v16f64(<16 x double> %kd, <16 x double> splat (double 0x3FE62E42FEFA39EF), <16 x double> %a)
  %n = fptrunc <16 x double> %y to <16 x float>
  ret <16 x float> %n
}
