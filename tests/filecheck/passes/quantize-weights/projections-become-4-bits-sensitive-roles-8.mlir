// run: quantize-weights{quantization="int4-g32" dtype="bfloat16"}
func.func @step(%x: tensor<?x32xbf16>, %batch: !sala.batch, %kv: !sala.kv_cache<1, 16, 16, bf16>) -> tensor<?x32xf32> {
  %wq = sala.weight @q {layer = 0 : i64, role = #sala<weight_role block_selection>} : !sala.weights<[32, 32], f32>
  %wk = sala.weight @k {layer = 0 : i64, role = #sala<weight_role block_selection>} : !sala.weights<[16, 32], f32>
  %wv = sala.weight @v {layer = 0 : i64} : !sala.weights<[16, 32], f32>
  %wg = sala.weight @gate {layer = 0 : i64, role = #sala<weight_role output_gate>} : !sala.weights<[32, 32], f32>
  %q = sala.linear %x, %wq {layer = 0 : i64} : tensor<?x32xbf16>, !sala.weights<[32, 32], f32> -> tensor<?x32xf32>
  %k = sala.linear %x, %wk {layer = 0 : i64} : tensor<?x32xbf16>, !sala.weights<[16, 32], f32> -> tensor<?x16xf32>
  %v = sala.linear %x, %wv {layer = 0 : i64} : tensor<?x32xbf16>, !sala.weights<[16, 32], f32> -> tensor<?x16xf32>
  %g = sala.linear %x, %wg {layer = 0 : i64} : tensor<?x32xbf16>, !sala.weights<[32, 32], f32> -> tensor<?x32xf32>
  %o, %kv2 = sala.softmax_attention %q, %k, %v, %kv, %batch heads <num_heads = 2, kv_heads = 1, head_dim = 16, scale = 2.5e-01> {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<1, 16, 16, bf16>, !sala.batch) -> (tensor<?x32xf32>, !sala.kv_cache<1, 16, 16, bf16>)
  %y = sala.output_gate %o, %g {layer = 0 : i64} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  func.return %y : tensor<?x32xf32>
}
// -----
func.func @step(%x: tensor<?x32xbf16>, %batch: !sala.batch, %kv: !sala.kv_cache<1, 16, 16, bf16>) -> tensor<?x32xf32> {
  %wq32 = sala.weight @q {layer = 0 : i64, role = #sala<weight_role block_selection>} : !sala.weights<[32, 32], f32>
  %wq = sala.quantize_weight %wq32 {layer = 0 : i64} : !sala.weights<[32, 32], f32> -> !sala.weights<[32, 32], bf16, #sala.encoding<int8, 128>>
  %wk32 = sala.weight @k {layer = 0 : i64, role = #sala<weight_role block_selection>} : !sala.weights<[16, 32], f32>
  %wk = sala.quantize_weight %wk32 {layer = 0 : i64} : !sala.weights<[16, 32], f32> -> !sala.weights<[16, 32], bf16, #sala.encoding<int8, 128>>
  %wv32 = sala.weight @v {layer = 0 : i64} : !sala.weights<[16, 32], f32>
  %wv = sala.quantize_weight %wv32 {layer = 0 : i64} : !sala.weights<[16, 32], f32> -> !sala.weights<[16, 32], bf16, #sala.encoding<int4, 32>>
  %wg32 = sala.weight @gate {layer = 0 : i64, role = #sala<weight_role output_gate>} : !sala.weights<[32, 32], f32>
  %wg = sala.quantize_weight %wg32 {layer = 0 : i64} : !sala.weights<[32, 32], f32> -> !sala.weights<[32, 32], bf16, #sala.encoding<int8, 128>>
  %q = sala.linear %x, %wq {layer = 0 : i64} : tensor<?x32xbf16>, !sala.weights<[32, 32], bf16, #sala.encoding<int8, 128>> -> tensor<?x32xf32>
  %k = sala.linear %x, %wk {layer = 0 : i64} : tensor<?x32xbf16>, !sala.weights<[16, 32], bf16, #sala.encoding<int8, 128>> -> tensor<?x16xf32>
  %v = sala.linear %x, %wv {layer = 0 : i64} : tensor<?x32xbf16>, !sala.weights<[16, 32], bf16, #sala.encoding<int4, 32>> -> tensor<?x16xf32>
  %g = sala.linear %x, %wg {layer = 0 : i64} : tensor<?x32xbf16>, !sala.weights<[32, 32], bf16, #sala.encoding<int8, 128>> -> tensor<?x32xf32>
  %o, %kv2 = sala.softmax_attention %q, %k, %v, %kv, %batch heads <num_heads = 2, kv_heads = 1, head_dim = 16, scale = 2.5e-01> {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<1, 16, 16, bf16>, !sala.batch) -> (tensor<?x32xf32>, !sala.kv_cache<1, 16, 16, bf16>)
  %y = sala.output_gate %o, %g {layer = 0 : i64} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  func.return %y : tensor<?x32xf32>
}
