// run: assign-precision{dtype="bfloat16"}
func.func @step(%x: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %w: !sala.weights<[8, 8], f32>) -> tensor<?x8xf32> {
  %normal = sala.rms_norm %x, %n {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32>
  %y = sala.linear %normal, %w : tensor<?x8xf32>, !sala.weights<[8, 8], f32> -> tensor<?x8xf32>
  %u = sala.linear %normal, %w : tensor<?x8xf32>, !sala.weights<[8, 8], f32> -> tensor<?x8xf32>
  %v = sala.residual_add %normal, %y : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %z = sala.residual_add %v, %u : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %z : tensor<?x8xf32>
}
// -----
func.func @step(%x: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %w: !sala.weights<[8, 8], f32>) -> tensor<?x8xf32> {
  %normal = sala.rms_norm %x, %n {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32>
  %rounded = sala.cast %normal : tensor<?x8xf32> -> tensor<?x8xbf16>
  %y = sala.linear %rounded, %w : tensor<?x8xbf16>, !sala.weights<[8, 8], f32> -> tensor<?x8xf32>
  %u = sala.linear %rounded, %w : tensor<?x8xbf16>, !sala.weights<[8, 8], f32> -> tensor<?x8xf32>
  %v = sala.residual_add %normal, %y : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %z = sala.residual_add %v, %u : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %z : tensor<?x8xf32>
}
