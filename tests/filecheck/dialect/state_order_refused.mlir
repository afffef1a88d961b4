// REFUSE: state %kv has two writers: sala.append_kv and sala.append_kv
func.func @f(%k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch) -> (!sala.kv_cache<2, 16, 16, f32>, !sala.kv_cache<2, 16, 16, f32>) {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32>
  %kv_2 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32>
  return %kv_1, %kv_2 : !sala.kv_cache<2, 16, 16, f32>, !sala.kv_cache<2, 16, 16, f32>
}
// -----
// REFUSE: sala.attend_blocks reads state %kv after sala.append_kv has updated it
func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch) -> !sala.kv_cache<2, 16, 16, f32> {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32>
  %out, %blocks_read = sala.attend_blocks %q, %kv, %batch heads <num_heads = 4, kv_heads = 2, head_dim = 16, scale = 2.500000e-01> : tensor<?x64xf32>, !sala.kv_cache<2, 16, 16, f32> -> tensor<?x64xf32>, tensor<?x2xi32>
  return %kv_1 : !sala.kv_cache<2, 16, 16, f32>
}
// -----
// REFUSE: func.return reads state %kv after sala.append_kv has updated it
func.func @f(%k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>, %batch: !sala.batch) -> !sala.kv_cache<2, 16, 16, f32> {
  %kv_1 = sala.append_kv %k, %k, %kv, %batch : (tensor<?x32xf32>, tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>, !sala.batch) -> !sala.kv_cache<2, 16, 16, f32>
  return %kv : !sala.kv_cache<2, 16, 16, f32>
}
// -----
// REFUSE: state %kv has two writers: sala.kernel_call and sala.kernel_call
func.func @f(%k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>) -> (!sala.kv_cache<2, 16, 16, f32>, !sala.kv_cache<2, 16, 16, f32>) {
  %kv_1 = sala.kernel_call @a(%k, %kv) {family = "append_kv", arguments = ["in:0", "in:1.k"], updates = [[0 : i64, 1 : i64]]} : (tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>) -> !sala.kv_cache<2, 16, 16, f32>
  %kv_2 = sala.kernel_call @a(%k, %kv) {family = "append_kv", arguments = ["in:0", "in:1.k"], updates = [[0 : i64, 1 : i64]]} : (tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>) -> !sala.kv_cache<2, 16, 16, f32>
  return %kv_1, %kv_2 : !sala.kv_cache<2, 16, 16, f32>, !sala.kv_cache<2, 16, 16, f32>
}
// -----
// REFUSE: sala.kernel_call continues one state twice
func.func @f(%k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>) {
  %a, %b = sala.kernel_call @a(%k, %kv) {family = "append_kv", arguments = ["in:0", "in:1.k"], updates = [[0 : i64, 1 : i64], [1 : i64, 1 : i64]]} : (tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>) -> (!sala.kv_cache<2, 16, 16, f32>, !sala.kv_cache<2, 16, 16, f32>)
  return
}
// -----
// REFUSE: sala.kernel_call continues a state !sala.kv_cache<2, 16, 16, f32> as !sala.kv_cache<2, 16, 16, bf16>
func.func @f(%k: tensor<?x32xf32>, %kv: !sala.kv_cache<2, 16, 16, f32>) {
  %a = sala.kernel_call @a(%k, %kv) {family = "append_kv", arguments = ["in:0", "in:1.k"], updates = [[0 : i64, 1 : i64]]} : (tensor<?x32xf32>, !sala.kv_cache<2, 16, 16, f32>) -> !sala.kv_cache<2, 16, 16, bf16>
  return
}
// -----
// REFUSE: sala.kernel_call updates what is no state
func.func @f(%k: tensor<?x32xf32>) {
  %a = sala.kernel_call @a(%k) {family = "norm", arguments = ["in:0"], updates = [[0 : i64, 0 : i64]]} : (tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: sala.kernel_call updates what the call does not have
func.func @f(%k: tensor<?x32xf32>) {
  %a = sala.kernel_call @a(%k) {family = "norm", arguments = ["in:0"], updates = [[1 : i64, 0 : i64]]} : (tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: sala.kernel_call does not state which operand !sala.kv_cache<2, 16, 16, f32> continues
func.func @f(%k: tensor<?x32xf32>) -> !sala.kv_cache<2, 16, 16, f32> {
  %kv_1 = sala.kernel_call @a(%k) {family = "append_kv", arguments = ["in:0"]} : (tensor<?x32xf32>) -> !sala.kv_cache<2, 16, 16, f32>
  return %kv_1 : !sala.kv_cache<2, 16, 16, f32>
}
