// run: fuse-attention-gate
func.func @step(%q: tensor<?x16xf32>, %gate: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 16, 4, f32>, %batch: !sala.batch) -> (tensor<?x16xbf16>, tensor<?x2xi32>) {
  %out, %read = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 2 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32> -> tensor<?x16xf32>, tensor<?x2xi32>
  %y = sala.output_gate %out, %gate {layer = 2 : i64} : tensor<?x16xf32>, tensor<?x16xf32> -> tensor<?x16xbf16>
  func.return %y, %read : tensor<?x16xbf16>, tensor<?x2xi32>
}
// -----
func.func @step(%q: tensor<?x16xf32>, %gate: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 16, 4, f32>, %batch: !sala.batch) -> (tensor<?x16xbf16>, tensor<?x2xi32>) {
  %out, %read = sala.attend_blocks %q, %kv, %batch gate(%gate : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 2 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32> -> tensor<?x16xbf16>, tensor<?x2xi32>
  func.return %out, %read : tensor<?x16xbf16>, tensor<?x2xi32>
}
