; Products of bf16 tiles: c (2 x 2 tiles of 16 x 16 floats: 0 to 3) += a (4, 5) * b (6, 7).

declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilerelease()
declare void @llvm.x86.tilezero(i8)
declare void @llvm.x86.tileloadd64(i8, ptr, i64)
declare void @llvm.x86.tileloaddt164(i8, ptr, i64)
declare void @llvm.x86.tilestored64(i8, ptr, i64)
declare void @llvm.x86.tdpbf16ps(i8, i8, i8)

define void @sala_tiles_configure(i32 %upper, i32 %lower) {
  %p = alloca [64 x i8], align 64
  call void @llvm.memset.p0.i64(ptr align 64 %p, i8 0, i64 64, i1 false)
  store i8 1, ptr %p
  %bytes = getelementptr i8, ptr %p, i64 16
  store <8 x i16> splat (i16 64), ptr %bytes, align 16
  %u = trunc i32 %upper to i8
  %l = trunc i32 %lower to i8
  %r0 = insertelement <8 x i8> splat (i8 16), i8 %u, i32 0
  %r1 = insertelement <8 x i8> %r0, i8 %u, i32 1
  %r2 = insertelement <8 x i8> %r1, i8 %l, i32 2
  %r3 = insertelement <8 x i8> %r2, i8 %l, i32 3
  %r4 = insertelement <8 x i8> %r3, i8 %u, i32 4
  %r5 = insertelement <8 x i8> %r4, i8 %l, i32 5
  %rows = getelementptr i8, ptr %p, i64 48
  store <8 x i8> %r5, ptr %rows, align 16
  call void @llvm.x86.ldtilecfg(ptr %p)
  ret void
}
define void @sala_tiles_release() {
  call void @llvm.x86.tilerelease()
  ret void
}
define void @sala_tiles_zero() {
  call void @llvm.x86.tilezero(i8 0)
  call void @llvm.x86.tilezero(i8 1)
  call void @llvm.x86.tilezero(i8 2)
  call void @llvm.x86.tilezero(i8 3)
  ret void
}
define void @sala_tiles_load(ptr %p) {
  %p1 = getelementptr i8, ptr %p, i64 1024
  %p2 = getelementptr i8, ptr %p, i64 2048
  %p3 = getelementptr i8, ptr %p, i64 3072
  call void @llvm.x86.tileloadd64(i8 0, ptr %p, i64 64)
  call void @llvm.x86.tileloadd64(i8 1, ptr %p1, i64 64)
  call void @llvm.x86.tileloadd64(i8 2, ptr %p2, i64 64)
  call void @llvm.x86.tileloadd64(i8 3, ptr %p3, i64 64)
  ret void
}
define void @sala_tiles_store(ptr %p) {
  %p1 = getelementptr i8, ptr %p, i64 1024
  %p2 = getelementptr i8, ptr %p, i64 2048
  %p3 = getelementptr i8, ptr %p, i64 3072
  call void @llvm.x86.tilestored64(i8 0, ptr %p, i64 64)
  call void @llvm.x86.tilestored64(i8 1, ptr %p1, i64 64)
  call void @llvm.x86.tilestored64(i8 2, ptr %p2, i64 64)
  call void @llvm.x86.tilestored64(i8 3, ptr %p3, i64 64)
  ret void
}
define void @sala_tiles_step(ptr %a0, ptr %a1, i64 %a_stride, ptr %b0, i64 %b_stride) {
  %b1 = getelementptr i8, ptr %b0, i64 64
  call void @llvm.x86.tileloadd64(i8 4, ptr %a0, i64 %a_stride)
  call void @llvm.x86.tileloadd64(i8 6, ptr %b0, i64 %b_stride)
  call void @llvm.x86.tileloadd64(i8 7, ptr %b1, i64 %b_stride)
  call void @llvm.x86.tdpbf16ps(i8 0, i8 4, i8 6)
  call void @llvm.x86.tileloadd64(i8 5, ptr %a1, i64 %a_stride)
  call void @llvm.x86.tdpbf16ps(i8 1, i8 4, i8 7)
  call void @llvm.x86.tdpbf16ps(i8 2, i8 5, i8 6)
  call void @llvm.x86.tdpbf16ps(i8 3, i8 5, i8 7)
  ret void
}
; A panel (64 outputs) for one tile of input: the weight is read once, past the first level of the cache.
define void @sala_tiles_wide_step(ptr %a, i64 %a_stride, ptr %b0, i64 %b_stride) {
  %b1 = getelementptr i8, ptr %b0, i64 64
  %b2 = getelementptr i8, ptr %b0, i64 128
  %b3 = getelementptr i8, ptr %b0, i64 192
  call void @llvm.x86.tileloadd64(i8 4, ptr %a, i64 %a_stride)
  call void @llvm.x86.tileloaddt164(i8 6, ptr %b0, i64 %b_stride)
  call void @llvm.x86.tileloaddt164(i8 7, ptr %b1, i64 %b_stride)
  call void @llvm.x86.tdpbf16ps(i8 0, i8 4, i8 6)
  call void @llvm.x86.tileloaddt164(i8 6, ptr %b2, i64 %b_stride)
  call void @llvm.x86.tdpbf16ps(i8 1, i8 4, i8 7)
  call void @llvm.x86.tileloaddt164(i8 7, ptr %b3, i64 %b_stride)
  call void @llvm.x86.tdpbf16ps(i8 2, i8 4, i8 6)
  call void @llvm.x86.tdpbf16ps(i8 3, i8 4, i8 7)
  ret void
}
