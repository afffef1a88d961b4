// run: open-attention
func.func @step(%q: tensor<?x8xf32>, %state: !sala.recurrent_state<2, 4, 4, f32>, %batch: !sala.batch) -> (tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %q, %q, %state, %batch heads <num_heads = 2, kv_heads = 2, head_dim = 4, scale = 0.5> {eps = 1.0e-6 : f64, slopes = dense<[0.5, 0.25]> : tensor<2xf32>} : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32> -> tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>
  func.return %out, %state_1 : tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>
}
