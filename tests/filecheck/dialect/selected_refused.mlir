// REFUSE: q must have 32 columns, not 48
func.func @attention(%q: tensor<?x48xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x48xf32>, !sala.kv_cache<2, 64, 8, f32>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 0 : i64, pool = 8 : i64} : (tensor<?x48xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, f32>, !sala.batch, tensor<?x6xi32>) -> (tensor<?x48xf32>, !sala.kv_cache<2, 64, 8, f32>)
  return %out, %kv_1 : tensor<?x48xf32>, !sala.kv_cache<2, 64, 8, f32>
}
// -----
// REFUSE: k must have 16 columns, not 32
func.func @attention(%q: tensor<?x32xf32>, %k: tensor<?x32xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 0 : i64, pool = 8 : i64} : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, f32>, !sala.batch, tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>)
  return %out, %kv_1 : tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>
}
// -----
// REFUSE: does not hold 2 heads of 8
func.func @attention(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<4, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<4, 64, 8, f32>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 0 : i64, pool = 8 : i64} : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<4, 64, 8, f32>, !sala.batch, tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<4, 64, 8, f32>)
  return %out, %kv_1 : tensor<?x32xf32>, !sala.kv_cache<4, 64, 8, f32>
}
// -----
// REFUSE: pages of 64 tokens are no whole pools of 12
func.func @attention(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 0 : i64, pool = 12 : i64} : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, f32>, !sala.batch, tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>)
  return %out, %kv_1 : tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>
}
// -----
// REFUSE: pages of 64 tokens are no whole pools of 0
func.func @attention(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 0 : i64, pool = 0 : i64} : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, f32>, !sala.batch, tensor<?x6xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>)
  return %out, %kv_1 : tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>
}
// -----
// REFUSE: selection must be tensor<?xCxi32>, not tensor<?xi32>
func.func @attention(%q: tensor<?x32xf32>, %k: tensor<?x16xf32>, %v: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 0 : i64, pool = 8 : i64} : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, f32>, !sala.batch, tensor<?xi32>) -> (tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>)
  return %out, %kv_1 : tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>
}
// -----
// REFUSE: the pages of a selection are not rounded
func.func @attention(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %v: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 64, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 8, recent = 64>>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> (tensor<?x64xf32>, !sala.kv_cache<2, 64, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 8, recent = 64>>) {
  %out, %kv_1 = sala.selected_attention %q, %k, %v, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 3.535000e-01> {layer = 0 : i64, pool = 8 : i64} : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 64, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 8, recent = 64>>, !sala.batch, tensor<?x6xi32>) -> (tensor<?x64xf32>, !sala.kv_cache<2, 64, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 8, recent = 64>>)
  return %out, %kv_1 : tensor<?x64xf32>, !sala.kv_cache<2, 64, 16, f32, #sala.page_rounding<key_bits = 8, value_bits = 8, recent = 64>>
}
// -----
// REFUSE: q must have 32 columns, not 16
func.func @attend(%q: tensor<?x16xf32>, %kv: !sala.kv_cache<2, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> tensor<?x16xf32> {
  %out = sala.attend_pools %q, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 1 : i64, pool = 16 : i64} : tensor<?x16xf32>, !sala.kv_cache<2, 64, 8, f32>, tensor<?x6xi32> -> tensor<?x16xf32>
  return %out : tensor<?x16xf32>
}
// -----
// REFUSE: selection must be tensor<?xCxi32>, not tensor<?x2x6xi32>
func.func @attend(%q: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 64, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x2x6xi32>) -> tensor<?x32xf32> {
  %out = sala.attend_pools %q, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 1 : i64, pool = 16 : i64} : tensor<?x32xf32>, !sala.kv_cache<2, 64, 8, f32>, tensor<?x2x6xi32> -> tensor<?x32xf32>
  return %out : tensor<?x32xf32>
}
// -----
// REFUSE: pages of 24 tokens are no whole pools of 16
func.func @attend(%q: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 24, 8, f32>, %batch: !sala.batch, %chosen: tensor<?x6xi32>) -> tensor<?x32xf32> {
  %out = sala.attend_pools %q, %kv, %batch, %chosen heads <num_heads = 4, kv_heads = 2, head_dim = 8, scale = 3.535000e-01> {layer = 1 : i64, pool = 16 : i64} : tensor<?x32xf32>, !sala.kv_cache<2, 24, 8, f32>, tensor<?x6xi32> -> tensor<?x32xf32>
  return %out : tensor<?x32xf32>
}
