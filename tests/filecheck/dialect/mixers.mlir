func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
func.func @unrotated(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %recent: !sala.recent_keys<2, 32, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>) {
  %out, %kv_1, %ck_1, %recent_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch choosing_q(%q : tensor<?x64xf32>) choosing_k(%k : tensor<?x32xf32>) recent(%recent : !sala.recent_keys<2, 32, 16, f32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>
  return %out, %kv_1, %ck_1, %recent_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>
}
// -----
func.func @dense(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>) {
  %out, %kv_1 = sala.softmax_attention %q, %k, %k, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 0 : i64} : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>)
  return %out, %kv_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>
}
// -----
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
// -----
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch rope(%table : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
// -----
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[16], f32>) k_norm(%norm : !sala.weights<[16], f32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
// -----
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[16], f32>) k_norm(%norm : !sala.weights<[16], f32>) rope(%table : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
