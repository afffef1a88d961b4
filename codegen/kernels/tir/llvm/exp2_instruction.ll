; 2^x and x 2^n by AVX512: one instruction takes the fraction of x, one multiplies by 2^floor(x).

declare <16 x float> @llvm.x86.avx512.mask.reduce.ps.512(<16 x float>, i32, <16 x float>, i16, i32)
declare <16 x float> @llvm.x86.avx512.mask.scalef.ps.512(<16 x float>, <16 x float>, <16 x float>, i16, i32)

define <16 x float> @sala_exp2(<16 x float> %x) {
  %r = call <16 x float> @llvm.x86.avx512.mask.reduce.ps.512(<16 x float> %x, i32 9, <16 x float> poison, i16 -1, i32 4)
  %p = call <16 x float> @sala_exp2_fraction(<16 x float> %r)
  %e = call <16 x float> @sala_scaled(<16 x float> %p, <16 x float> %x)
  ret <16 x float> %e
}
define <16 x float> @sala_scaled(<16 x float> %x, <16 x float> %n) {
  %r = call <16 x float> @llvm.x86.avx512.mask.scalef.ps.512(<16 x float> %x, <16 x float> %n, <16 x float> poison, i16 -1, i32 4)
  ret <16 x float> %r
}
