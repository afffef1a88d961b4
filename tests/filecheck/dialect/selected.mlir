func.func @attention(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 0 : i64, pool = 8 : i64} : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, f32>, !sala.batch, tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>)
  return %out, %kv_1 : tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>
}
// -----
func.func @attend(%q: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 64, 8, bf16>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> tensor<?x32xf32> {
  %out = sala.attend_pools %q, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 1 : i64, pool = 16 : i64} : tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, bf16>, tensor<?x6xi32> -> tensor<?x32xf32>
  return %out : tensor<?x32xf32>
}
// -----
func.func @gated(%q: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 48, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>, %gate: tensor<?x32xf32>) -> tensor<?x32xbf16> {
  %out = sala.attend_pools %q, %kv, %batch, %chosen gate(%gate : tensor<?x32xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 1 : i64, pool = 3 : i64} : tensor<?x32xf32>, !sala.kv_cache<2, 48, 8, f32>, tensor<?x6xi32> -> tensor<?x32xbf16>
  return %out : tensor<?x32xbf16>
}
