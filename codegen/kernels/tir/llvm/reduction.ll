; Folds the halves of a vector onto each other. NAME and COMBINE<n> are filled in by shims.py.

define float @sala_NAME(<16 x float> %a) {
  %h8 = shufflevector <16 x float> %a, <16 x float> poison, <8 x i32> <i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>
  %l8 = shufflevector <16 x float> %a, <16 x float> poison, <8 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7>
  COMBINE8
  %h4 = shufflevector <8 x float> %s8, <8 x float> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %l4 = shufflevector <8 x float> %s8, <8 x float> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  COMBINE4
  %h2 = shufflevector <4 x float> %s4, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %l2 = shufflevector <4 x float> %s4, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  COMBINE2
  %h1 = extractelement <2 x float> %s2, i32 1
  %l1 = extractelement <2 x float> %s2, i32 0
  COMBINE1
  ret float %s1
}
