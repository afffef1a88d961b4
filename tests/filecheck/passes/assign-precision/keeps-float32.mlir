// run: assign-precision{dtype="float32"}
func.func @step(%x: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %w: !sala.weights<[8, 8], f32>, %kv: !sala.kv_cache<1, 16, 4, f32>) -> (tensor<?x8xf32>, !sala.kv_cache<1, 16, 4, f32>) {
  %normal = sala.rms_norm %x, %n {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32>
  %y = sala.linear %normal, %w : tensor<?x8xf32>, !sala.weights<[8, 8], f32> -> tensor<?x8xf32>
  func.return %y, %kv : tensor<?x8xf32>, !sala.kv_cache<1, 16, 4, f32>
}
