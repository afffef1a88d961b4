// run: fuse-qk-norm-rope
func.func @step(%q: tensor<?x8xf32>, %a: !sala.weights<[8], f32>, %b: !sala.weights<[4], f32>, %table: tensor<?x2xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %q1 = sala.rms_norm %q, %a {eps = 1.0e-5 : f64, layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32>
  %q2 = sala.rope %q1, %table {head_dim = 4 : i64, layer = 1 : i64} : tensor<?x8xf32>, tensor<?x2xf32> -> tensor<?x8xf32>
  %q3 = sala.rms_norm %q, %b {eps = 1.0e-5 : f64, layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[4], f32> -> tensor<?x8xf32>
  %q4 = sala.rope %q3, %table {head_dim = 4 : i64, layer = 1 : i64} : tensor<?x8xf32>, tensor<?x2xf32> -> tensor<?x8xf32>
  func.return %q2, %q3, %q4 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}
