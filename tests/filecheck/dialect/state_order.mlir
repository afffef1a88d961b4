// A reader of the old state before its writer, a reader of the new one after it.
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch) -> !sala.kv_cache<2, 16, 16, f32> {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32>
  %out_1, %blocks_read_1 = sala.attend_blocks %q, %kv_1, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return %kv_1 : !sala.kv_cache<2, 16, 16, f32>
}
