// run: assign-precision{dtype="bfloat16"}
func.func @step(%x: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %w: !sala.weights<[4, 8], f32>, %kv: !sala.kv_cache<1, 16, 4, f32>, %state: !sala.recurrent_state<2, 4, 4, f32>, %batch: !sala.batch) -> (tensor<?x4xf32>, !sala.kv_cache<1, 16, 4, f32>, !sala.recurrent_state<2, 4, 4, f32>) {
  %normal = sala.rms_norm %x, %n {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32>
  %k = sala.linear %normal, %w : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %v = sala.linear %normal, %w : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %kv_1 = sala.append_kv %k, %v, %kv, %batch : (tensor<?x4xf32>, tensor<?x4xf32>, !sala.kv_cache<1, 16, 4, f32>, !sala.batch) -> !sala.kv_cache<1, 16, 4, f32>
  func.return %k, %kv_1, %state : tensor<?x4xf32>, !sala.kv_cache<1, 16, 4, f32>, !sala.recurrent_state<2, 4, 4, f32>
}
// -----
func.func @step(%x: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %w: !sala.weights<[4, 8], f32>, %kv: !sala.kv_cache<1, 16, 4, bf16>, %state: !sala.recurrent_state<2, 4, 4, f32>, %batch: !sala.batch) -> (tensor<?x4xf32>, !sala.kv_cache<1, 16, 4, bf16>, !sala.recurrent_state<2, 4, 4, f32>) {
  %normal = sala.rms_norm %x, %n {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xbf16>
  %k = sala.linear %normal, %w : tensor<?x8xbf16>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %v = sala.linear %normal, %w : tensor<?x8xbf16>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %kv_1 = sala.append_kv %k, %v, %kv, %batch : (tensor<?x4xf32>, tensor<?x4xf32>, !sala.kv_cache<1, 16, 4, bf16>, !sala.batch) -> !sala.kv_cache<1, 16, 4, bf16>
  func.return %k, %kv_1, %state : tensor<?x4xf32>, !sala.kv_cache<1, 16, 4, bf16>, !sala.recurrent_state<2, 4, 4, f32>
}
