// run: fuse-norm-gate
func.func @step(%x: tensor<?x8xf32>, %w: !sala.weights<[8], f32>, %gate: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xbf16>, tensor<?x8xf32>) {
  %z = sala.output_gate %x, %gate : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m = sala.rms_norm %x, %w {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xbf16>
  %v = sala.output_gate %m, %gate : tensor<?x8xbf16>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %z, %m, %v : tensor<?x8xf32>, tensor<?x8xbf16>, tensor<?x8xf32>
}
