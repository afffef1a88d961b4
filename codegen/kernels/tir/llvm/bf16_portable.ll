; bf16 without AVX512_BF16: the same roundings (denormals become zeros, NaNs quiet).

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
