; Rounding to bf16 by integers, as AVX512_BF16 does it: denormals become zeros, NaNs quiet.

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
