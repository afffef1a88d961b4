// run: fuse-norm-gate
func.func @step(%x: tensor<?x8xf32>, %w: !sala.weights<[8], f32>, %head: !sala.weights<[4], f32>, %gate: tensor<?x8xf32>) -> (tensor<?x8xbf16>, tensor<?x8xf32>) {
  %n = sala.rms_norm %x, %w {eps = 1.0e-6 : f64, layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32>
  %y = sala.output_gate %n, %gate {layer = 1 : i64} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xbf16>
  %m = sala.rms_norm %x, %head {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[4], f32> -> tensor<?x8xf32>
  %z = sala.output_gate %m, %gate : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %y, %z : tensor<?x8xbf16>, tensor<?x8xf32>
}
// -----
func.func @step(%x: tensor<?x8xf32>, %w: !sala.weights<[8], f32>, %head: !sala.weights<[4], f32>, %gate: tensor<?x8xf32>) -> (tensor<?x8xbf16>, tensor<?x8xf32>) {
  %y = sala.rms_norm %x, %w gate(%gate : tensor<?x8xf32>) {eps = 1.0e-6 : f64, layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xbf16>
  %z = sala.rms_norm %x, %head gate(%gate : tensor<?x8xf32>) {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[4], f32> -> tensor<?x8xf32>
  func.return %y, %z : tensor<?x8xbf16>, tensor<?x8xf32>
}
