// run: fuse-norm-gate
func.func @step(%x: tensor<?x8xf32>, %w: !sala.weight<[4], f32>, %gate: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %n = sala.rms_norm %x, %w {eps = 1.0e-6 : f64, group = 4 : i64} : tensor<?x8xf32>, !sala.weight<[4], f32> -> tensor<?x8xf32>
  %y = sala.output_gate %n, %gate : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %z = sala.output_gate %x, %gate : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %y, %z : tensor<?x8xf32>, tensor<?x8xf32>
}
// -----
func.func @step(%x: tensor<?x8xf32>, %w: !sala.weight<[4], f32>, %gate: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %n = sala.rms_norm %x, %w {eps = 1.0e-6 : f64, group = 4 : i64} : tensor<?x8xf32>, !sala.weight<[4], f32> -> tensor<?x8xf32>
  %y = sala.norm_gate %n gate(%gate : tensor<?x8xf32>) {eps = 0.0 : f64} : tensor<?x8xf32> -> tensor<?x8xf32>
  %z = sala.norm_gate %x gate(%gate : tensor<?x8xf32>) {eps = 0.0 : f64} : tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %y, %z : tensor<?x8xf32>, tensor<?x8xf32>
}
