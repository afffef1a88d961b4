; Floats to bytes, in the orders in which the products of bytes take them.

declare <16 x float> @llvm.arithmetic.fence.v16f32(<16 x float>)

; The fence keeps the product from becoming part of a multiply-add, which would round once.
define <16 x i32> @sala_nearest_integers(<16 x float> %x, <16 x float> %f) {
  %p = fmul <16 x float> %x, %f
  %q = call <16 x float> @llvm.arithmetic.fence.v16f32(<16 x float> %p)
  %r = fadd <16 x float> %q, splat (float 12582912.0)
  %b = bitcast <16 x float> %r to <16 x i32>
  %i = sub <16 x i32> %b, splat (i32 1262485504)
  ret <16 x i32> %i
}
define <16 x i8> @sala_narrow_bytes_2(<16 x i32> %x) {
  %b = trunc <16 x i32> %x to <16 x i8>
  %r = shufflevector <16 x i8> %b, <16 x i8> poison, <16 x i32> <i32 0, i32 2, i32 1, i32 3, i32 4, i32 6, i32 5, i32 7, i32 8, i32 10, i32 9, i32 11, i32 12, i32 14, i32 13, i32 15>
  ret <16 x i8> %r
}
define <16 x i8> @sala_narrow_bytes_4(<16 x i32> %x) {
  %b = trunc <16 x i32> %x to <16 x i8>
  %r = shufflevector <16 x i8> %b, <16 x i8> poison, <16 x i32> <i32 0, i32 4, i32 1, i32 5, i32 2, i32 6, i32 3, i32 7, i32 8, i32 12, i32 9, i32 13, i32 10, i32 14, i32 11, i32 15>
  ret <16 x i8> %r
}
