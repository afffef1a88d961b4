; Sums of products of integers of up to 6 bits in bytes: two of them fit 16 bits, 63 * 128 * 2.

declare <32 x i16> @llvm.x86.avx512.pmaddubs.w.512(<64 x i8>, <64 x i8>)

define <16 x i32> @sala_dot_u6(<16 x i32> %c, <64 x i8> %a, <64 x i8> %b) {
  %p = call <32 x i16> @llvm.x86.avx512.pmaddubs.w.512(<64 x i8> %a, <64 x i8> %b)
  %r = call <16 x i32> @sala_dot_i16(<16 x i32> %c, <32 x i16> %p, <32 x i16> splat (i16 1))
  ret <16 x i32> %r
}
