// run: open-attention
func.func @step(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>) {
  %out, %kv_1 = sala.softmax_attention %q, %k, %k, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 0 : i64} : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>)
  func.return %out, %kv_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
}
// -----
func.func @step(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>) {
  %0 = sala.round_pages %k, %k, %kv, %batch {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.batch) -> !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
  %out, %blocks_read = sala.attend_blocks %q, %0, %batch k(%k : tensor<?x32xf32>) v(%k : tensor<?x32xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>> -> tensor<?x64xf32>, tensor<?x2xi32>
  %kv_1 = sala.keep_recent %k, %k, %0, %batch {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.batch) -> !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
  func.return %out, %kv_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
}
