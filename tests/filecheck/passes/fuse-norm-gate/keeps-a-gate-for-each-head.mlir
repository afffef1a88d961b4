// run: fuse-norm-gate
func.func @step(%x: tensor<?x8xf32>, %g: tensor<?x2xf32>, %w: !sala.weights<[4], f32>) -> tensor<?x8xf32> {
  %n = sala.rms_norm %x, %w {eps = 1.0e-05 : f64} : tensor<?x8xf32>, !sala.weights<[4], f32> -> tensor<?x8xf32>
  %y = sala.output_gate %n, %g : tensor<?x8xf32>, tensor<?x2xf32> -> tensor<?x8xf32>
  func.return %y : tensor<?x8xf32>
}
