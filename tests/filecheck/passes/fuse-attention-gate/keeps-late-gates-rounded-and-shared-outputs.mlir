// run: fuse-attention-gate
func.func @step(%q: tensor<?x16xf32>, %gate: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 16, 4, f32>, %w: !sala.weights<[16, 16], f32>, %batch: !sala.batch) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %out1, %read1 = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 2 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32> -> tensor<?x16xf32>, tensor<?x2xi32>
  %late = sala.linear %q, %w : tensor<?x16xf32>, !sala.weights<[16, 16], f32> -> tensor<?x16xf32>
  %y1 = sala.output_gate %out1, %late : tensor<?x16xf32>, tensor<?x16xf32> -> tensor<?x16xf32>
  %out2, %read2 = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 2 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32> -> tensor<?x16xbf16>, tensor<?x2xi32>
  %y2 = sala.output_gate %out2, %gate : tensor<?x16xbf16>, tensor<?x16xf32> -> tensor<?x16xf32>
  %out3, %read3 = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 4, scale = 0.5> {layer = 2 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 16, 4, f32> -> tensor<?x16xf32>, tensor<?x2xi32>
  %y3 = sala.output_gate %out3, %gate : tensor<?x16xf32>, tensor<?x16xf32> -> tensor<?x16xf32>
  func.return %y1, %y2, %out3, %y3 : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}
