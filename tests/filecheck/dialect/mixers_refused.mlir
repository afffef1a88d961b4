// REFUSE: 3 kv heads do not divide 4 heads
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 3, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: heads and head_dim must be positive
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 0, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: head_dim must be even, not 15
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 15, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: q must have 128 columns, not 64
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 8, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: k must have 16 columns, not 32
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 1, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: there must be 64 columns, not 48
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x48xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x48xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x48xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: does not hold 2 heads of 16
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 8, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 8, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 8, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 8, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 8, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: do not belong to
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 32, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: pages of 16 tokens are no whole blocks of 32
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 32, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: topk 1 must be at least init_blocks + 1
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 1, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: selection sizes must not be negative
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = -1> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: continues a state
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: topk
func.func @sparse(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %out, %kv_1, %ck_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = None, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return %out, %kv_1, %ck_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: does not hold 2 heads of 16
func.func @dense(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<1, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<1, 16, 16, f32>) {
  %out, %kv_1 = sala.softmax_attention %q, %k, %k, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 0 : i64} : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<1, 16, 16, f32>, !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<1, 16, 16, f32>)
  return %out, %kv_1 : tensor<?x64xf32>, !sala.kv_cache<1, 16, 16, f32>
}
// -----
// REFUSE: continues a state
func.func @dense(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16>) {
  %out, %kv_1 = sala.softmax_attention %q, %k, %k, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 0 : i64} : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16>)
  return %out, %kv_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, bf16>
}
// -----
// REFUSE: does not fit the heads
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<2, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<2, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[16], f32>) k_norm(%norm : !sala.weights<[16], f32>) rope(%table : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<2, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<2, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<2, 16, 16, f32>
}
// -----
// REFUSE: continues a state
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, bf16>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[16], f32>) k_norm(%norm : !sala.weights<[16], f32>) rope(%table : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, bf16>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, bf16>
}
// -----
// REFUSE: slopes must be f32
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[16], f32>) k_norm(%norm : !sala.weights<[16], f32>) rope(%table : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf64>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
// -----
// REFUSE: there must be 4 slopes
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[16], f32>) k_norm(%norm : !sala.weights<[16], f32>) rope(%table : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02]> : tensor<3xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
// -----
// REFUSE: q_norm and k_norm come together
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[16], f32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
// -----
// REFUSE: q_norm must have shape [16], not [8]
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[8], f32>, %table: tensor<?x16xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[8], f32>) k_norm(%norm : !sala.weights<[8], f32>) rope(%table : tensor<?x16xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
// -----
// REFUSE: rope must have 16 columns, not 8
func.func @lightning(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %state: !sala.recurrent_state<4, 16, 16, f32>, %batch: !sala.batch, %norm: !sala.weights<[16], f32>, %table: tensor<?x8xf32>) -> (tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>) {
  %out, %state_1 = sala.lightning_attention %q, %k, %k, %state, %batch q_norm(%norm : !sala.weights<[16], f32>) k_norm(%norm : !sala.weights<[16], f32>) rope(%table : tensor<?x8xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, slopes = dense<[2.500000e-01, 6.250000e-02, 1.562500e-02, 0.840896428]> : tensor<4xf32>} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.recurrent_state<4, 16, 16, f32> -> tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
  return %out, %state_1 : tensor<?x64xf32>, !sala.recurrent_state<4, 16, 16, f32>
}
// -----
// REFUSE: choosing_q, choosing_k and recent come together
func.func @unrotated(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %recent: !sala.recent_keys<2, 32, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>) {
  %out, %kv_1, %ck_1, %recent_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch choosing_k(%k : tensor<?x32xf32>) recent(%recent : !sala.recent_keys<2, 32, 16, f32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>
  return %out, %kv_1, %ck_1, %recent_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>
}
// -----
// REFUSE: choosing_k must have 32 columns, not 64
func.func @unrotated(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %recent: !sala.recent_keys<2, 32, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>) {
  %out, %kv_1, %ck_1, %recent_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch choosing_q(%q : tensor<?x64xf32>) choosing_k(%q : tensor<?x64xf32>) recent(%recent : !sala.recent_keys<2, 32, 16, f32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>
  return %out, %kv_1, %ck_1, %recent_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>
}
// -----
// REFUSE: do not belong to
func.func @unrotated(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %recent: !sala.recent_keys<2, 16, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 16, 16, f32>) {
  %out, %kv_1, %ck_1, %recent_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch choosing_q(%q : tensor<?x64xf32>) choosing_k(%k : tensor<?x32xf32>) recent(%recent : !sala.recent_keys<2, 16, 16, f32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 16, 16, f32>
  return %out, %kv_1, %ck_1, %recent_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 16, 16, f32>
}
// -----
// REFUSE: there must be 64 columns, not 32
func.func @unrotated(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %recent: !sala.recent_keys<2, 32, 16, f32>, %batch: !sala.batch) -> (tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>) {
  %out, %kv_1, %ck_1, %recent_1 = sala.block_sparse_attention %q, %k, %k, %kv, %ck, %batch choosing_q(%k : tensor<?x32xf32>) choosing_k(%k : tensor<?x32xf32>) recent(%recent : !sala.recent_keys<2, 32, 16, f32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> {layer = 0 : i64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32> -> tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>
  return %out, %kv_1, %ck_1, %recent_1 : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.recent_keys<2, 32, 16, f32>
}
