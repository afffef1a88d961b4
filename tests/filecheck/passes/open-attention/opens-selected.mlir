// run: open-attention
func.func @step(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, bf16>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x32xbf16>, !sala.kv_cache<2, 64, 8, bf16>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 0.5> {layer = 0 : i64, pool = 8 : i64} : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, bf16>, !sala.batch, tensor<?x6xi32>) -> (tensor<?x32xbf16>, !sala.kv_cache<2, 64, 8, bf16>)
  func.return %out, %kv_1 : tensor<?x32xbf16>, !sala.kv_cache<2, 64, 8, bf16>
}
// -----
func.func @step(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, bf16>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x32xbf16>, !sala.kv_cache<2, 64, 8, bf16>) {
  %kv_1 = sala.append_kv %k, %v, %kv, %batch {layer = 0 : i64} : (tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, bf16>, !sala.batch) -> !sala.kv_cache<2, 64, 8, bf16>
  %out = sala.attend_pools %q, %kv_1, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 0.5> {layer = 0 : i64, pool = 8 : i64} : tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, bf16>, tensor<?x6xi32> -> tensor<?x32xbf16>
  func.return %out, %kv_1 : tensor<?x32xbf16>, !sala.kv_cache<2, 64, 8, bf16>
}
