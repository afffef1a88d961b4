// run: fuse-qk-norm-rope
func.func @step(%q: tensor<?x8xf32>, %a: !sala.weights<[4], f32>, %table: tensor<?x2xf32>) -> tensor<?x8xf32> {
  %q1 = sala.rms_norm %q, %a {eps = 1.0e-5 : f64, layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[4], f32> -> tensor<?x8xf32>
  %q2 = sala.rope %q1, %table {head_dim = 4 : i64, layer = 1 : i64} : tensor<?x8xf32>, tensor<?x2xf32> -> tensor<?x8xf32>
  func.return %q2 : tensor<?x8xf32>
}
// -----
func.func @step(%q: tensor<?x8xf32>, %a: !sala.weights<[4], f32>, %table: tensor<?x2xf32>) -> tensor<?x8xf32> {
  %q2 = sala.rope %q, %table norm(%a : !sala.weights<[4], f32>) {head_dim = 4 : i64, eps = 1.0e-5 : f64, layer = 1 : i64} : tensor<?x8xf32>, tensor<?x2xf32> -> tensor<?x8xf32>
  func.return %q2 : tensor<?x8xf32>
}
