; Sums of products of pairs of 16-bit integers; with the addition, one instruction where VNNI is.

declare <16 x i32> @llvm.x86.avx512.pmaddw.d.512(<32 x i16>, <32 x i16>)

define <16 x i32> @sala_dot_i16(<16 x i32> %c, <32 x i16> %a, <32 x i16> %b) {
  %p = call <16 x i32> @llvm.x86.avx512.pmaddw.d.512(<32 x i16> %a, <32 x i16> %b)
  %r = add <16 x i32> %c, %p
  ret <16 x i32> %r
}
