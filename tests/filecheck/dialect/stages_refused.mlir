// REFUSE: k must have 32 columns, not 30
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x30xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x30xf32>, tensor<?x30xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32>
  return
}
// -----
// REFUSE: continues a state
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, bf16>
  return
}
// -----
// REFUSE: do not belong to
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<1, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %ck_1 = sala.compress_keys %kv, %ck, %batch : (!sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<1, 8, 4, 16, 16, f32>, !sala.batch) -> !sala.compressed_keys<1, 8, 4, 16, 16, f32>
  return
}
// -----
// REFUSE: continues a state
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %ck_1 = sala.compress_keys %kv, %ck, %batch : (!sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> !sala.compressed_keys<2, 8, 4, 16, 16, bf16>
  return
}
// -----
// REFUSE: q must have 48 columns, not 64
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %blocks, %counts = sala.select_blocks %q, %ck, %batch heads <num_heads = 3, kv_heads = 1, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> : (tensor<?x64xf32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (tensor<?x2x6xi32>, tensor<?x2xi32>)
  return
}
// -----
// REFUSE: pages of 16 tokens are no whole blocks of 32
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %blocks, %counts = sala.select_blocks %q, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 32, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> : (tensor<?x64xf32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (tensor<?x2x6xi32>, tensor<?x2xi32>)
  return
}
// -----
// REFUSE: blocks must be tensor<?x2x6xi32>
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %blocks, %counts = sala.select_blocks %q, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> : (tensor<?x64xf32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (tensor<?x2x4xi32>, tensor<?x2xi32>)
  return
}
// -----
// REFUSE: counts must be tensor<?x2xi32>
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %blocks, %counts = sala.select_blocks %q, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 4, dense_len = 64> : (tensor<?x64xf32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (tensor<?x2x6xi32>, tensor<?x4xi32>)
  return
}
// -----
// REFUSE: topk 1 must be at least init_blocks + 1
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %blocks, %counts = sala.select_blocks %q, %ck, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> selection <kernel_size = 8, kernel_stride = 4, block_size = 16, init_blocks = 1, window_blocks = 2, topk = 1, dense_len = 64> : (tensor<?x64xf32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (tensor<?x2x6xi32>, tensor<?x2xi32>)
  return
}
// -----
// REFUSE: blocks, counts and block_size come together
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch, %blocks: tensor<?x2x6xi32>, %counts: tensor<?x2xi32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch blocks(%blocks : tensor<?x2x6xi32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
// -----
// REFUSE: there must be 64 columns, not 32
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch, %blocks: tensor<?x2x6xi32>, %gate: tensor<?x32xf32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch gate(%gate : tensor<?x32xf32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
// -----
// REFUSE: blocks must be tensor<?x2xBxi32>
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch, %blocks: tensor<?x1x6xi32>, %counts: tensor<?x2xi32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch blocks(%blocks : tensor<?x1x6xi32>) counts(%counts : tensor<?x2xi32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {block_size = 16 : i64} : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
// -----
// REFUSE: expected from variable 'counts'
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch, %blocks: tensor<?x2x6xi32>, %counts: tensor<?x1xi32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch blocks(%blocks : tensor<?x2x6xi32>) counts(%counts : tensor<?x1xi32>) heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> {block_size = 16 : i64} : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
// -----
// REFUSE: blocks_read must be tensor<?x2xi32>
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch, %blocks: tensor<?x2x6xi32>, %counts: tensor<?x2xi32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x3xi32>
  return
}
// -----
// REFUSE: does not hold 2 heads of 16
func.func @attend(%q: tensor<?x64xf32>, %kv: !sala.kv_cache<2, 16, 8, f32>, %batch: !sala.batch, %blocks: tensor<?x2x6xi32>, %counts: tensor<?x2xi32>) {
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 8, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
// -----
// REFUSE: k must have 32 columns, not 64
func.func @f(%k: tensor<?x64xf32>, %recent: !sala.recent_keys<2, 32, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (!sala.recent_keys<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %recent_1, %ck_1 = sala.compress_new_keys %k, %recent, %ck, %batch {layer = 0 : i64} : (tensor<?x64xf32>, !sala.recent_keys<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (!sala.recent_keys<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>)
  return %recent_1, %ck_1 : !sala.recent_keys<2, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: do not belong to
func.func @f(%k: tensor<?x32xf32>, %recent: !sala.recent_keys<1, 32, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (!sala.recent_keys<1, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %recent_1, %ck_1 = sala.compress_new_keys %k, %recent, %ck, %batch {layer = 0 : i64} : (tensor<?x32xf32>, !sala.recent_keys<1, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (!sala.recent_keys<1, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>)
  return %recent_1, %ck_1 : !sala.recent_keys<1, 32, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: do not belong to
func.func @f(%k: tensor<?x32xf32>, %recent: !sala.recent_keys<2, 8, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) -> (!sala.recent_keys<2, 8, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) {
  %recent_1, %ck_1 = sala.compress_new_keys %k, %recent, %ck, %batch {layer = 0 : i64} : (tensor<?x32xf32>, !sala.recent_keys<2, 8, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> (!sala.recent_keys<2, 8, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>)
  return %recent_1, %ck_1 : !sala.recent_keys<2, 8, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>
}
// -----
// REFUSE: pages are rounded: sala.round_pages
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %0 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
  return
}
// -----
// REFUSE: no pages are rounded: sala.append_kv
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %0 = sala.round_pages %k, %k, %kv, %batch : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32>
  return
}
// -----
// REFUSE: k must have 32 columns, not 64
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %0 = sala.keep_recent %q, %q, %kv, %batch : (tensor<?x64xf32>, tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>
  return
}
// -----
// REFUSE: k is there where pages are rounded
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %0 = sala.compress_keys %kv, %ck, %batch : (!sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch) -> !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return
}
// -----
// REFUSE: a window has 32 keys
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %0 = sala.compress_keys %kv, %ck, %batch, %k : (!sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>, !sala.batch, tensor<?x32xf32>) -> !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return
}
// -----
// REFUSE: k and v are there where pages are rounded
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %batch: !sala.batch) {
  %0, %1 = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 16>> -> tensor<?x64xf32>, tensor<?x2xi32>
  return
}
