func.func @call(%k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %ck: !sala.compressed_keys<2, 8, 4, 16, 16, f32>, %w: !sala.weight<[48, 32], f32>) {
  %y = sala.kernel_call @linear_48x32(%k, %w) {layer = 3 : i64, family = "linear", arguments = ["control", "in:0", "in:1", "out:0"], spec = {bias = false, columns = 48 : i64, element = "f32"}} : (tensor<?x32xf32>, !sala.weight<[48, 32], f32>) -> tensor<?x48xf32>
  %kv_1 = sala.kernel_call @append_kv(%k, %k, %kv) {family = "append_kv", arguments = ["control", "batch:token_position", "batch:page_table", "in:0", "in:1", "in:2.k", "in:2.v"]} : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>) -> !sala.kv_cache<2, 16, 16, f32>
  %ck_1 = sala.kernel_call @compress_keys(%kv_1, %ck) {family = "compress_keys", arguments = ["control", "in:0.k", "in:1.fine", "in:1.coarse", "workspace:0"], workspaces = [{constant = 64 : i64}]} : (!sala.kv_cache<2, 16, 16, f32>, !sala.compressed_keys<2, 8, 4, 16, 16, f32>) -> !sala.compressed_keys<2, 8, 4, 16, 16, f32>
  return
}
