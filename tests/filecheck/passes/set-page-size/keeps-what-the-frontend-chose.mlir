// run: set-page-size
func.func @step(%k: tensor<?x4xf32>, %kv: !sala.kv_cache<1, 16, 4, f32>, %batch: !sala.batch) -> !sala.kv_cache<1, 16, 4, f32> {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x4xf32>, tensor<?x4xf32>, !sala.kv_cache<1, 16, 4, f32>, !sala.batch) -> !sala.kv_cache<1, 16, 4, f32>
  func.return %kv_1 : !sala.kv_cache<1, 16, 4, f32>
}
