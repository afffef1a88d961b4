// run: fuse-attention-gate
func.func @step(%q: tensor<?x16xf32>, %gate: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 16, 4, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> tensor<?x16xbf16> {
  %out = sala.attend_pools %q, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 2 : i64, pool = 8 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32>, tensor<?x6xi32> -> tensor<?x16xf32>
  %y = sala.output_gate %out, %gate {layer = 2 : i64} : tensor<?x16xf32>, tensor<?x16xf32> -> tensor<?x16xbf16>
  func.return %y : tensor<?x16xbf16>
}
// -----
func.func @step(%q: tensor<?x16xf32>, %gate: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 16, 4, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> tensor<?x16xbf16> {
  %out = sala.attend_pools %q, %kv, %batch, %chosen gate(%gate : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 2 : i64, pool = 8 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32>, tensor<?x6xi32> -> tensor<?x16xbf16>
  func.return %out : tensor<?x16xbf16>
}
