; float16 to float32: exponent and mantissa in their new places, times 2^112. Finite values only.

define <16 x float> @sala_from_f16(<16 x i16> %a) {
  %w = zext <16 x i16> %a to <16 x i32>
  %m = and <16 x i32> %w, splat (i32 32767)
  %s = and <16 x i32> %w, splat (i32 32768)
  %p = shl <16 x i32> %m, splat (i32 13)
  %n = shl <16 x i32> %s, splat (i32 16)
  %f = bitcast <16 x i32> %p to <16 x float>
  %g = fmul <16 x float> %f, splat (float 0x46F0000000000000)
  %b = bitcast <16 x float> %g to <16 x i32>
  %o = or <16 x i32> %b, %n
  %r = bitcast <16 x i32> %o to <16 x float>
  ret <16 x float> %r
}
