// run: round-pages
func.func @step(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  func.return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
