; Arithmetic, masked access and widening. MULTIPLY_ADD is fma or, where a target lacks it, fmuladd.

declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare <16 x float> @llvm.MULTIPLY_ADD.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare <16 x float> @llvm.roundeven.v16f32(<16 x float>)
declare <16 x float> @llvm.sqrt.v16f32(<16 x float>)
declare <16 x float> @llvm.floor.v16f32(<16 x float>)
declare <16 x float> @llvm.masked.load.v16f32.p0(ptr, i32, <16 x i1>, <16 x float>)
declare <16 x i16> @llvm.masked.load.v16i16.p0(ptr, i32, <16 x i1>, <16 x i16>)
declare void @llvm.masked.store.v16f32.p0(<16 x float>, ptr, i32, <16 x i1>)
declare void @llvm.masked.store.v16i16.p0(<16 x i16>, ptr, i32, <16 x i1>)

define void @sala_prefetch(ptr %p) {
  call void @llvm.prefetch.p0(ptr %p, i32 0, i32 3, i32 1)
  ret void
}
define i32 @sala_take(ptr %p) {
  %r = atomicrmw add ptr %p, i32 1 monotonic
  ret i32 %r
}
define void @sala_prefetch_far(ptr %p) {
  call void @llvm.prefetch.p0(ptr %p, i32 0, i32 2, i32 1)
  ret void
}
define i64 @sala_address(ptr %p) {
  %a = ptrtoint ptr %p to i64
  ret i64 %a
}
define void @sala_prefetch_at(i64 %a) {
  %p = inttoptr i64 %a to ptr
  call void @llvm.prefetch.p0(ptr %p, i32 0, i32 3, i32 1)
  ret void
}
define void @sala_prefetch_far_at(i64 %a) {
  %p = inttoptr i64 %a to ptr
  call void @llvm.prefetch.p0(ptr %p, i32 0, i32 2, i32 1)
  ret void
}
define <16 x float> @sala_fma(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
  %r = call <16 x float> @llvm.MULTIPLY_ADD.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
  ret <16 x float> %r
}
define <16 x float> @sala_max(<16 x float> %a, <16 x float> %b) {
  %c = fcmp ogt <16 x float> %a, %b
  %r = select <16 x i1> %c, <16 x float> %a, <16 x float> %b
  ret <16 x float> %r
}
define <16 x float> @sala_floor(<16 x float> %a) {
  %r = call <16 x float> @llvm.floor.v16f32(<16 x float> %a)
  ret <16 x float> %r
}
define <16 x float> @sala_first_lanes(<16 x float> %a, i32 %count, <16 x float> %other) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  %r = select <16 x i1> %m, <16 x float> %a, <16 x float> %other
  ret <16 x float> %r
}
define <16 x i1> @sala_mask(i32 %count) alwaysinline {
  %s = insertelement <16 x i32> poison, i32 %count, i32 0
  %v = shufflevector <16 x i32> %s, <16 x i32> poison, <16 x i32> zeroinitializer
  %m = icmp slt <16 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>, %v
  ret <16 x i1> %m
}
define <16 x float> @sala_load_f32(ptr %p, i32 %count) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  %r = call <16 x float> @llvm.masked.load.v16f32.p0(ptr %p, i32 4, <16 x i1> %m, <16 x float> zeroinitializer)
  ret <16 x float> %r
}
define <16 x i16> @sala_load_u16(ptr %p, i32 %count) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  %r = call <16 x i16> @llvm.masked.load.v16i16.p0(ptr %p, i32 2, <16 x i1> %m, <16 x i16> zeroinitializer)
  ret <16 x i16> %r
}
define <32 x i16> @sala_load_pairs_again(ptr %p) {
  %r = load volatile <32 x i16>, ptr %p, align 64
  ret <32 x i16> %r
}
define void @sala_store_f32(ptr %p, i32 %count, <16 x float> %v) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  call void @llvm.masked.store.v16f32.p0(<16 x float> %v, ptr %p, i32 4, <16 x i1> %m)
  ret void
}
define void @sala_store_u16(ptr %p, i32 %count, <16 x i16> %v) {
  %m = call <16 x i1> @sala_mask(i32 %count)
  call void @llvm.masked.store.v16i16.p0(<16 x i16> %v, ptr %p, i32 2, <16 x i1> %m)
  ret void
}
define <16 x float> @sala_from_bf16(<16 x i16> %a) {
  %w = zext <16 x i16> %a to <16 x i32>
  %s = shl <16 x i32> %w, splat (i32 16)
  %r = bitcast <16 x i32> %s to <16 x float>
  ret <16 x float> %r
}
