; Rounding to bf16 by AVX512_BF16.

declare <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16.512(<16 x float>)

define <16 x i16> @sala_to_bf16(<16 x float> %a) {
  %b = call <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16.512(<16 x float> %a)
  %r = bitcast <16 x bfloat> %b to <16 x i16>
  ret <16 x i16> %r
}
