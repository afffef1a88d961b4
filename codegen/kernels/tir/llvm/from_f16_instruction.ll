; float16 to float32 by the target's own conversion.

define <16 x float> @sala_from_f16(<16 x i16> %a) {
  %h = bitcast <16 x i16> %a to <16 x half>
  %r = fpext <16 x half> %h to <16 x float>
  ret <16 x float> %r
}
