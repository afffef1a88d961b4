; Sums of products of integers of up to 6 bits in bytes, as those of any bytes.

define <16 x i32> @sala_dot_u6(<16 x i32> %c, <64 x i8> %a, <64 x i8> %b) {
  %r = call <16 x i32> @sala_dot_u8(<16 x i32> %c, <64 x i8> %a, <64 x i8> %b)
  ret <16 x i32> %r
}
