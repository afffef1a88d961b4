; Sums of products of four bytes as an instruction of AVX512_VNNI.

declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <64 x i8>, <64 x i8>)

define <16 x i32> @sala_dot_u8(<16 x i32> %c, <64 x i8> %a, <64 x i8> %b) {
  %r = call <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> %c, <64 x i8> %a, <64 x i8> %b)
  ret <16 x i32> %r
}
