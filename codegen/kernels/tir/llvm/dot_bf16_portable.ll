; The dot product of bf16 pairs by two multiply-adds of the unpacked halves.

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
