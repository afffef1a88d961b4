// run: fuse-qk-norm-rope
func.func @step(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %a: !sala.weights<[4], f32>, %b: !sala.weights<[4], f32>, %table: tensor<?x4xf32>, %state: !sala.recurrent_state<2, 4, 4, f32>, %batch: !sala.batch) -> (tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>) {
  %q1 = sala.rope %q, %table {head_dim = 4 : i64, layer = 1 : i64} : tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x8xf32>
  %k1 = sala.rope %k, %table {head_dim = 4 : i64, layer = 1 : i64} : tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x8xf32>
  %q2 = sala.rms_norm %q1, %a {eps = 1.0e-5 : f64, layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[4], f32> -> tensor<?x8xf32>
  %k2 = sala.rms_norm %k1, %b {eps = 1.0e-6 : f64, layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[4], f32> -> tensor<?x8xf32>
  %out, %state_1 = sala.lightning_attention %q2, %k2, %v, %state, %batch heads <num_heads = 2, kv_heads = 2, head_dim = 4, scale = 0.5> {eps = 0.0 : f64, slopes = dense<[0.5, 0.25]> : tensor<2xf32>, layer = 1 : i64} : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32> -> tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>
  func.return %out, %state_1 : tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>
}
