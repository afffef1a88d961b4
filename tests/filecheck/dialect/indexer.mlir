func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch, %w: tensor<?x3xf32>) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch weights %w {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch, tensor<?x3xf32>) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
func.func @choose(%q: tensor<?x12xbf16>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<1, 4, 64, bf16>, %batch: !sala.batch, %w: tensor<?x3xf32>) -> (tensor<?x5xi32>, !sala.indexer_keys<1, 4, 64, bf16>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch weights %w {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xbf16>, tensor<?x4xf32>, !sala.indexer_keys<1, 4, 64, bf16>, !sala.batch, tensor<?x3xf32>) -> (tensor<?x5xi32>, !sala.indexer_keys<1, 4, 64, bf16>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<1, 4, 64, bf16>
}
