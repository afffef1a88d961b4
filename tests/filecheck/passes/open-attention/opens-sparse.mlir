// run: open-attention
func.func @step(%q: tensor<?x16xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %kv: !sala.kv_cache<2, 16, 4, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 4, f32>, %batch: !sala.batch) -> (tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32>, !sala.compressed_keys<2, 8, 4, 16, 4, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %v, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 3, dense_len = 64> {layer = 2 : i64} : tensor<?x16xf32>, tensor<?x8xf32>, tensor<?x8xf32>, !sala.kv_cache<2, 16, 4, f32>, !sala.compressed_keys<2, 8, 4, 16, 4, f32> -> tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32>, !sala.compressed_keys<2, 8, 4, 16, 4, f32>
  func.return %out, %kv_1, %ck_1 : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32>, !sala.compressed_keys<2, 8, 4, 16, 4, f32>
}
// -----
func.func @step(%q: tensor<?x16xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %kv: !sala.kv_cache<2, 16, 4, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 4, f32>, %batch: !sala.batch) -> (tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32>, !sala.compressed_keys<2, 8, 4, 16, 4, f32>) {
  %kv_1 = sala.append_kv %k, %v, %kv, %batch {layer = 2 : i64} : (tensor<?x8xf32>, tensor<?x8xf32>, !sala.kv_cache<2, 16, 4, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 4, f32>
  %ck_1 = sala.compress_keys %kv_1, %ck, %batch {layer = 2 : i64} : (!sala.kv_cache<2, 16, 4, f32>, !sala.compressed_keys<2, 8, 4, 16, 4, f32>, !sala.batch) -> !sala.compressed_keys<2, 8, 4, 16, 4, f32>
  %blocks, %counts = sala.select_blocks %q, %ck_1, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 3, dense_len = 64> {layer = 2 : i64} : (tensor<?x16xf32>, !sala.compressed_keys<2, 8, 4, 16, 4, f32>, !sala.batch) -> (tensor<?x2x5xi32>, tensor<?x2xi32>)
  %out, %read = sala.attend_blocks %q, %kv_1, %batch blocks(%blocks : tensor<?x2x5xi32>) counts(%counts : tensor<?x2xi32>) heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {block_size = 16 : i64, layer = 2 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32> -> tensor<?x16xf32>, tensor<?x2xi32>
  func.return %out, %kv_1, %ck_1 : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32>, !sala.compressed_keys<2, 8, 4, 16, 4, f32>
}
