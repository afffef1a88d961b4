// REFUSE: heads must be positive
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 0 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
// REFUSE: count must be positive
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 0 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
// REFUSE: scale must be positive
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = -5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
// REFUSE: q must have 12 columns, not 8
func.func @choose(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
// REFUSE: keys must have 4 columns, not 6
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x6xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x6xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
// REFUSE: weights must have 3 columns, not 4
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch, %w: tensor<?x4xf32>) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch weights %w {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch, tensor<?x4xf32>) -> (tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
// REFUSE: selection must be tensor<?x5xi32>
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<8, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x6xi32>, !sala.indexer_keys<8, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<8, 4, 64, f32>, !sala.batch) -> (tensor<?x6xi32>, !sala.indexer_keys<8, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x6xi32>, !sala.indexer_keys<8, 4, 64, f32>
}
// -----
// REFUSE: page_tokens must be a multiple of pool
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<7, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<7, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<7, 4, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<7, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<7, 4, 64, f32>
}
// -----
// REFUSE: columns of indexer keys must be even
func.func @choose(%q: tensor<?x9xf32>, %k: tensor<?x3xf32>, %cache: !sala.indexer_keys<1, 3, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<1, 3, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x9xf32>, tensor<?x3xf32>, !sala.indexer_keys<1, 3, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<1, 3, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<1, 3, 64, f32>
}
// -----
// REFUSE: sizes of sala.indexer_keys must be positive
func.func @choose(%q: tensor<?x12xf32>, %k: tensor<?x4xf32>, %cache: !sala.indexer_keys<0, 4, 64, f32>, %batch: !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<0, 4, 64, f32>) {
  %selection, %cache_1 = sala.select_pools %q, %k, %cache, %batch {layer = 0 : i64, heads = 3 : i64, scale = 5.000000e-01 : f64, count = 5 : i64} : (tensor<?x12xf32>, tensor<?x4xf32>, !sala.indexer_keys<0, 4, 64, f32>, !sala.batch) -> (tensor<?x5xi32>, !sala.indexer_keys<0, 4, 64, f32>)
  return %selection, %cache_1 : tensor<?x5xi32>, !sala.indexer_keys<0, 4, 64, f32>
}
