; 2^x and x 2^n by integers: below 2^-126 the factor is 0, from 2^128 on infinite.

define <16 x float> @sala_exp2(<16 x float> %x) {
  %n = call <16 x float> @llvm.floor.v16f32(<16 x float> %x)
  %low = fcmp olt <16 x float> %x, splat (float -128.0)
  %d = fsub <16 x float> %x, %n
  %r = select <16 x i1> %low, <16 x float> zeroinitializer, <16 x float> %d
  %p = call <16 x float> @sala_exp2_fraction(<16 x float> %r)
  %e = call <16 x float> @sala_scaled(<16 x float> %p, <16 x float> %n)
  ret <16 x float> %e
}
define <16 x float> @sala_scaled(<16 x float> %x, <16 x float> %n) {
  %low = fcmp ogt <16 x float> %n, splat (float -127.0)
  %n1 = select <16 x i1> %low, <16 x float> %n, <16 x float> splat (float -127.0)
  %high = fcmp olt <16 x float> %n1, splat (float 128.0)
  %n2 = select <16 x i1> %high, <16 x float> %n1, <16 x float> splat (float 128.0)
  %t = fadd <16 x float> %n2, splat (float 12583039.0)
  %ti = bitcast <16 x float> %t to <16 x i32>
  %fi = shl <16 x i32> %ti, splat (i32 23)
  %f = bitcast <16 x i32> %fi to <16 x float>
  %r = fmul <16 x float> %x, %f
  ret <16 x float> %r
}
