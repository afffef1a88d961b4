func.func @stages(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32>
  %ck_1 = sala.compress_keys %kv_1, %ck, %batch {layer = 0 : i64} : (!sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  %blocks, %counts = sala.select_blocks %q, %ck_1, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : (tensor<?x64xf32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (tensor<?x2x6xi32>, tensor<?x2xi32>)
  %out, %blocks_read = sala.attend_blocks %q, %kv_1, %batch blocks(%blocks : tensor<?x2x6xi32>) counts(%counts : tensor<?x2xi32>) gate(%q : tensor<?x64xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 0 : i64, block_size = 16 : i64} : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch, %blocks: tensor<?x2x6xi32>, %counts: tensor<?x2xi32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
// -----
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch, %blocks: tensor<?x2x6xi32>, %counts: tensor<?x2xi32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch gate(%q : tensor<?x64xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
// -----
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch, %blocks: tensor<?x2x6xi32>, %counts: tensor<?x2xi32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch blocks(%blocks : tensor<?x2x6xi32>) counts(%counts : tensor<?x2xi32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {block_size = 16 : i64} : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
// -----
func.func @new_keys(%k: tensor<?x32xf32>, %recent: !sala.recent_keys<2, 32, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (!sala.recent_keys<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %recent_1, %ck_1 = sala.compress_new_keys %k, %recent, %ck, %batch {layer = 0 : i64} : (tensor<?x32xf32>, !sala.recent_keys<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (!sala.recent_keys<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>)
  return %recent_1, %ck_1 : !sala.recent_keys<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
func.func @step(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %0 = sala.round_pages %k, %k, %kv, %batch {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>>
  %ck_1 = sala.compress_keys %0, %ck, %batch, %k {layer = 0 : i64} : (!sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch, tensor<?x32xf32>) -> !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  %blocks, %counts = sala.select_blocks %q, %ck_1, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : (tensor<?x64xf32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (tensor<?x2x6xi32>, tensor<?x2xi32>)
  %out, %blocks_read = sala.attend_blocks %q, %0, %batch blocks(%blocks : tensor<?x2x6xi32>) counts(%counts : tensor<?x2xi32>) k(%k : tensor<?x32xf32>) v(%k : tensor<?x32xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 0 : i64, block_size = 16 : i64} : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>> -> tensor<?x64xf32>, tensor<?x2xi32>
  %kv_1 = sala.keep_recent %k, %k, %0, %batch {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 32>>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
func.func @step(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>) {
  %0 = sala.round_pages %k, %k, %kv, %batch {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.batch) -> !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
  %out, %blocks_read = sala.attend_blocks %q, %0, %batch k(%k : tensor<?x32xf32>) v(%k : tensor<?x32xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>> -> tensor<?x64xf32>, tensor<?x2xi32>
  %kv_1 = sala.keep_recent %k, %k, %0, %batch {layer = 0 : i64} : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.batch) -> !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
  return %out, %kv_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
}
