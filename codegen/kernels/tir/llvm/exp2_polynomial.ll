; 2^r for r in [0, 1): a polynomial, 1 at 0, to 1.5e-7 of the value.

define <16 x float> @sala_exp2_fraction(<16 x float> %r) {
  %p1 = call <16 x float> @sala_fma(<16 x float> splat (float 0x3F5E9750A0000000), <16 x float> %r, <16 x float> splat (float 0x3F82778520000000))
  %p2 = call <16 x float> @sala_fma(<16 x float> %p1, <16 x float> %r, <16 x float> splat (float 0x3FAC91CE80000000))
  %p3 = call <16 x float> @sala_fma(<16 x float> %p2, <16 x float> %r, <16 x float> splat (float 0x3FCEBDB560000000))
  %p4 = call <16 x float> @sala_fma(<16 x float> %p3, <16 x float> %r, <16 x float> splat (float 0x3FE62E4BA0000000))
  %p = call <16 x float> @sala_fma(<16 x float> %p4, <16 x float> %r, <16 x float> splat (float 1.0))
  ret <16 x float> %p
}
