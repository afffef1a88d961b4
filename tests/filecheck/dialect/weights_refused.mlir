// REFUSE: parts have 80 along the axis, result 81
func.func @f(%a: !sala.weights<[64, 32], f32>, %b: !sala.weights<[16, 32], f32>) {
  %w = sala.concat_weights %a, %b : (!sala.weights<[64, 32], f32>, !sala.weights<[16, 32], f32>) -> !sala.weights<[81, 32], f32>
  return
}
// -----
// REFUSE: part [16, 31] does not fit result [80, 32]
func.func @f(%a: !sala.weights<[64, 32], f32>, %b: !sala.weights<[16, 31], f32>) {
  %w = sala.concat_weights %a, %b : (!sala.weights<[64, 32], f32>, !sala.weights<[16, 31], f32>) -> !sala.weights<[80, 32], f32>
  return
}
// -----
// REFUSE: parts and result must have one element type
func.func @f(%a: !sala.weights<[64, 32], f32>, %b: !sala.weights<[16, 32], bf16>) {
  %w = sala.concat_weights %a, %b : (!sala.weights<[64, 32], f32>, !sala.weights<[16, 32], bf16>) -> !sala.weights<[80, 32], f32>
  return
}
// -----
// REFUSE: axis 2 is outside a weight of rank 2
func.func @f(%a: !sala.weights<[64, 32], f32>) {
  %w = sala.concat_weights %a {axis = 2 : i64} : (!sala.weights<[64, 32], f32>) -> !sala.weights<[64, 32], f32>
  return
}
// -----
// REFUSE: concat_weights needs at least one part
func.func @f() {
  %w = sala.concat_weights : () -> !sala.weights<[64, 32], f32>
  return
}
// -----
// REFUSE: weight is already packed
func.func @f(%a: !sala.weights<[64, 32], f32, #sala.layout<panel, 64>>) {
  %w = sala.concat_weights %a : (!sala.weights<[64, 32], f32, #sala.layout<panel, 64>>) -> !sala.weights<[64, 32], f32>
  return
}
// -----
// REFUSE: expected from variable 'weight'
func.func @f(%a: !sala.weights<[24, 8], f32>, %b: !sala.weights<[25, 8], f32>) {
  %w = sala.interleave_weights %a, %b : !sala.weights<[24, 8], f32>, !sala.weights<[25, 8], f32> -> !sala.weights<[64, 8], f32>
  return
}
// -----
// REFUSE: result must be !sala.weights<[64, 8], f32>
func.func @f(%a: !sala.weights<[24, 8], f32>, %b: !sala.weights<[24, 8], f32>) {
  %w = sala.interleave_weights %a, %b : !sala.weights<[24, 8], f32>, !sala.weights<[24, 8], f32> -> !sala.weights<[48, 8], f32>
  return
}
// -----
// REFUSE: group must be positive
func.func @f(%a: !sala.weights<[24, 8], f32>, %b: !sala.weights<[24, 8], f32>) {
  %w = sala.interleave_weights %a, %b {group = 0 : i64} : !sala.weights<[24, 8], f32>, !sala.weights<[24, 8], f32> -> !sala.weights<[48, 8], f32>
  return
}
// -----
// REFUSE: expected from variable 'weight'
func.func @f(%a: !sala.weights<[24, 8], f32>) {
  %w = sala.scale_weight %a {factor = 2.000000e+00 : f64} : !sala.weights<[24, 8], f32> -> !sala.weights<[24, 8], bf16>
  return
}
// -----
// REFUSE: cast_weight may change the element type only
func.func @f(%a: !sala.weights<[24, 8], f32>) {
  %w = sala.cast_weight %a : !sala.weights<[24, 8], f32> -> !sala.weights<[8, 24], bf16>
  return
}
// -----
// REFUSE: pack_weight may change the layout only
func.func @f(%a: !sala.weights<[24, 8], f32>) {
  %w = sala.pack_weight %a : !sala.weights<[24, 8], f32> -> !sala.weights<[24, 8], bf16, #sala.layout<panel, 64>>
  return
}
// -----
// REFUSE: weight is already packed
func.func @f(%a: !sala.weights<[24, 8], f32, #sala.layout<panel, 64>>) {
  %w = sala.pack_weight %a : !sala.weights<[24, 8], f32, #sala.layout<panel, 64>> -> !sala.weights<[24, 8], f32, #sala.layout<panel, 32>>
  return
}
// -----
// REFUSE: parts and result must have one encoding
func.func @f(%a: !sala.weights<[64, 32], bf16>, %b: !sala.weights<[16, 32], bf16, #sala.encoding<int4, 32>>) {
  %w = sala.concat_weights %a, %b : (!sala.weights<[64, 32], bf16>, !sala.weights<[16, 32], bf16, #sala.encoding<int4, 32>>) -> !sala.weights<[80, 32], bf16>
  return
}
// -----
// REFUSE: only rows of an integer encoding can be joined
func.func @f(%a: !sala.weights<[64, 32], bf16, #sala.encoding<int4, 32>>) {
  %w = sala.concat_weights %a, %a {axis = 1 : i64} : (!sala.weights<[64, 32], bf16, #sala.encoding<int4, 32>>, !sala.weights<[64, 32], bf16, #sala.encoding<int4, 32>>) -> !sala.weights<[64, 64], bf16, #sala.encoding<int4, 32>>
  return
}
// -----
// REFUSE: the weight is already quantised
func.func @f(%a: !sala.weights<[64, 32], bf16, #sala.encoding<int4, 32>>) {
  %w = sala.quantize_weight %a : !sala.weights<[64, 32], bf16, #sala.encoding<int4, 32>> -> !sala.weights<[64, 32], bf16, #sala.encoding<int4, 32>>
  return
}
// -----
// REFUSE: quantize_weight may change element type and encoding only
func.func @f(%a: !sala.weights<[64, 32], f32>) {
  %w = sala.quantize_weight %a : !sala.weights<[64, 32], f32> -> !sala.weights<[32, 32], bf16, #sala.encoding<int4, 32>>
  return
}
// -----
// REFUSE: integers with minima or super-blocks are read, never rounded to
func.func @f(%a: !sala.weights<[64, 32], f32>) {
  %w = sala.quantize_weight %a : !sala.weights<[64, 32], f32> -> !sala.weights<[64, 32], bf16, #sala.encoding<int4, 32, minimum>>
  return
}
