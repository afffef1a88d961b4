// run: fuse-attention-gate
func.func @step(%q: tensor<?x32xf32>, %kv: !sala.kv_cache<1, 64, 16, f32>, %batch: !sala.batch, %g: tensor<?x2xf32>) -> tensor<?x32xf32> {
  %o, %read = sala.attend_blocks %q, %kv, %batch heads <num_heads = 2, kv_heads = 1, head_dim = 16, scale = 2.5e-01> : tensor<?x32xf32>, !sala.kv_cache<1, 64, 16, f32> -> tensor<?x32xf32>, tensor<?x1xi32>
  %y = sala.output_gate %o, %g : tensor<?x32xf32>, tensor<?x2xf32> -> tensor<?x32xf32>
  func.return %y : tensor<?x32xf32>
}
