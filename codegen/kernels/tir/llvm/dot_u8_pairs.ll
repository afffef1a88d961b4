; Sums of products of four bytes by those of pairs of 16-bit integers: bytes of even, then of odd
; places. One instruction for pairs of bytes would saturate.

define <16 x i32> @sala_dot_u8(<16 x i32> %c, <64 x i8> %a, <64 x i8> %b) {
  %aw = bitcast <64 x i8> %a to <32 x i16>
  %bw = bitcast <64 x i8> %b to <32 x i16>
  %ae = and <32 x i16> %aw, splat (i16 255)
  %ao = lshr <32 x i16> %aw, splat (i16 8)
  %bl = shl <32 x i16> %bw, splat (i16 8)
  %be = ashr <32 x i16> %bl, splat (i16 8)
  %bo = ashr <32 x i16> %bw, splat (i16 8)
  %r0 = call <16 x i32> @sala_dot_i16(<16 x i32> %c, <32 x i16> %ae, <32 x i16> %be)
  %r1 = call <16 x i32> @sala_dot_i16(<16 x i32> %r0, <32 x i16> %ao, <32 x i16> %bo)
  ret <16 x i32> %r1
}
