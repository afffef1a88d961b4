func.func @weights() {
  %q = sala.weight @model.layers.0.self_attn.q_proj.weight {layer = 0 : i64} : !sala.weights<[64, 32], f32>
  %k = sala.weight @model.layers.0.self_attn.k_proj.weight {layer = 0 : i64} : !sala.weights<[16, 32], f32>
  %qk = sala.concat_weights %q, %k {layer = 0 : i64} : (!sala.weights<[64, 32], f32>, !sala.weights<[16, 32], f32>) -> !sala.weights<[80, 32], f32>
  %wide = sala.concat_weights %q, %q {axis = 1 : i64} : (!sala.weights<[64, 32], f32>, !sala.weights<[64, 32], f32>) -> !sala.weights<[64, 64], f32>
  %scaled = sala.scale_weight %qk {factor = 1.250000e-01 : f64} : !sala.weights<[80, 32], f32> -> !sala.weights<[80, 32], f32>
  %cast = sala.cast_weight %scaled : !sala.weights<[80, 32], f32> -> !sala.weights<[80, 32], bf16>
  %packed = sala.pack_weight %cast : !sala.weights<[80, 32], bf16> -> !sala.weights<[80, 32], bf16, #sala.layout<panel, 64>>
  %codes = sala.quantize_weight %qk {layer = 0 : i64} : !sala.weights<[80, 32], f32> -> !sala.weights<[80, 32], bf16, #sala.encoding<int4, 32>>
  %both = sala.concat_weights %codes, %codes : (!sala.weights<[80, 32], bf16, #sala.encoding<int4, 32>>, !sala.weights<[80, 32], bf16, #sala.encoding<int4, 32>>) -> !sala.weights<[160, 32], bf16, #sala.encoding<int4, 32>>
  return
}
// -----
// 24 rows of gate and of up, each padded to 32 and taken 16 by 16.
func.func @interleaved(%gate: !sala.weights<[24, 8], f32>, %up: !sala.weights<[24, 8], f32>) {
  %w = sala.interleave_weights %gate, %up : !sala.weights<[24, 8], f32>, !sala.weights<[24, 8], f32> -> !sala.weights<[64, 8], f32>
  %odd = sala.interleave_weights %gate, %up {group = 5 : i64} : !sala.weights<[24, 8], f32>, !sala.weights<[24, 8], f32> -> !sala.weights<[50, 8], f32>
  return
}
