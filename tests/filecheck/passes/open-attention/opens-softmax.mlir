// run: open-attention
func.func @step(%q: tensor<?x16xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %kv: !sala.kv_cache<2, 16, 4, bf16>, %batch: !sala.batch) -> (tensor<?x16xbf16>, !sala.kv_cache<2, 16, 4, bf16>) {
  %out, %kv_1 = sala.softmax_attention %q, %k, %v, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 0 : i64} : (tensor<?x16xf32>, tensor<?x8xf32>, tensor<?x8xf32>, !sala.kv_cache<2, 16, 4, bf16>, !sala.batch) -> (tensor<?x16xbf16>, !sala.kv_cache<2, 16, 4, bf16>)
  func.return %out, %kv_1 : tensor<?x16xbf16>, !sala.kv_cache<2, 16, 4, bf16>
}
// -----
func.func @step(%q: tensor<?x16xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %kv: !sala.kv_cache<2, 16, 4, bf16>, %batch: !sala.batch) -> (tensor<?x16xbf16>, !sala.kv_cache<2, 16, 4, bf16>) {
  %kv_1 = sala.append_kv %k, %v, %kv, %batch {layer = 0 : i64} : (tensor<?x8xf32>, tensor<?x8xf32>, !sala.kv_cache<2, 16, 4, bf16>, !sala.batch) -> !sala.kv_cache<2, 16, 4, bf16>
  %out, %read = sala.attend_blocks %q, %kv_1, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 0 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, bf16> -> tensor<?x16xbf16>, tensor<?x2xi32>
  func.return %out, %kv_1 : tensor<?x16xbf16>, !sala.kv_cache<2, 16, 4, bf16>
}
