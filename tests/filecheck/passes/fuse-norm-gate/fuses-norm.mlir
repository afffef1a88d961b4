// run: fuse-norm-gate
func.func @step(%x: tensor<?x8xf32>, %w: !sala.weight<[8], f32>, %gate: tensor<?x8xf32>) -> tensor<?x8xbf16> {
  %n = sala.rms_norm %x, %w {eps = 1.0e-6 : f64, group = 8 : i64, layer = 1 : i64} : tensor<?x8xf32>, !sala.weight<[8], f32> -> tensor<?x8xf32>
  %y = sala.output_gate %n, %gate {layer = 1 : i64} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xbf16>
  func.return %y : tensor<?x8xbf16>
}
// -----
func.func @step(%x: tensor<?x8xf32>, %w: !sala.weight<[8], f32>, %gate: tensor<?x8xf32>) -> tensor<?x8xbf16> {
  %y = sala.norm_gate %x weight(%w : !sala.weight<[8], f32>) gate(%gate : tensor<?x8xf32>) {eps = 1.0e-6 : f64, layer = 1 : i64} : tensor<?x8xf32> -> tensor<?x8xbf16>
  func.return %y : tensor<?x8xbf16>
}
