// run: set-page-size{tokens=64}
func.func @step(%k: tensor<?x4xf32>, %kv: !sala.kv_cache<1, 16, 4, f32>, %ck: !sala.compressed_keys<1, 8, 4, 16, 4, f32>, %state: !sala.recurrent_state<2, 4, 4, f32>, %batch: !sala.batch) -> (!sala.kv_cache<1, 16, 4, f32>, !sala.compressed_keys<1, 8, 4, 16, 4, f32>, !sala.recurrent_state<2, 4, 4, f32>) {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x4xf32>, tensor<?x4xf32>, !sala.kv_cache<1, 16, 4, f32>, !sala.batch) -> !sala.kv_cache<1, 16, 4, f32>
  %ck_1 = sala.compress_keys %kv_1, %ck, %batch : (!sala.kv_cache<1, 16, 4, f32>, !sala.compressed_keys<1, 8, 4, 16, 4, f32>, !sala.batch) -> !sala.compressed_keys<1, 8, 4, 16, 4, f32>
  func.return %kv_1, %ck_1, %state : !sala.kv_cache<1, 16, 4, f32>, !sala.compressed_keys<1, 8, 4, 16, 4, f32>, !sala.recurrent_state<2, 4, 4, f32>
}
// -----
func.func @step(%k: tensor<?x4xf32>, %kv: !sala.kv_cache<1, 64, 4, f32>, %ck: !sala.compressed_keys<1, 8, 4, 64, 4, f32>, %state: !sala.recurrent_state<2, 4, 4, f32>, %batch: !sala.batch) -> (!sala.kv_cache<1, 64, 4, f32>, !sala.compressed_keys<1, 8, 4, 64, 4, f32>, !sala.recurrent_state<2, 4, 4, f32>) {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x4xf32>, tensor<?x4xf32>, !sala.kv_cache<1, 64, 4, f32>, !sala.batch) -> !sala.kv_cache<1, 64, 4, f32>
  %ck_1 = sala.compress_keys %kv_1, %ck, %batch : (!sala.kv_cache<1, 64, 4, f32>, !sala.compressed_keys<1, 8, 4, 64, 4, f32>, !sala.batch) -> !sala.compressed_keys<1, 8, 4, 64, 4, f32>
  func.return %kv_1, %ck_1, %state : !sala.kv_cache<1, 64, 4, f32>, !sala.compressed_keys<1, 8, 4, 64, 4, f32>, !sala.recurrent_state<2, 4, 4, f32>
}
