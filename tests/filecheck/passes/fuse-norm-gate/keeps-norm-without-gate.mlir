// run: fuse-norm-gate
func.func @step(%x: tensor<?x8xf32>, %w: !sala.weights<[8], f32>) -> tensor<?x8xf32> {
  %n = sala.rms_norm %x, %w {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32>
  func.return %n : tensor<?x8xf32>
}
