// REFUSE: kernel argument "in:1" names no value of the call
func.func @f(%x: tensor<?x32xf32>) {
  %y = sala.kernel_call @k(%x) {family = "norm", arguments = ["in:1"]} : (tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: kernel argument "out:1" names no value of the call
func.func @f(%x: tensor<?x32xf32>) {
  %y = sala.kernel_call @k(%x) {family = "norm", arguments = ["out:1"]} : (tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: kernel argument "batch:lengths" names no field of the batch
func.func @f(%x: tensor<?x32xf32>) {
  %y = sala.kernel_call @k(%x) {family = "norm", arguments = ["batch:lengths"]} : (tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: kernel argument "workspace:0" names no workspace
func.func @f(%x: tensor<?x32xf32>) {
  %y = sala.kernel_call @k(%x) {family = "norm", arguments = ["workspace:0"]} : (tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: kernel argument "x" is not understood
func.func @f(%x: tensor<?x32xf32>) {
  %y = sala.kernel_call @k(%x) {family = "norm", arguments = ["x"]} : (tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: kernel argument "in:0" names no tensor of the value
func.func @f(%kv: !sala.kv_cache<2, 16, 16, f32>) {
  sala.kernel_call @k(%kv) {family = "norm", arguments = ["in:0"]} : (!sala.kv_cache<2, 16, 16, f32>) -> ()
  return
}
// -----
// REFUSE: kernel argument "in:0.k" names no tensor of the value
func.func @f(%x: tensor<?x32xf32>) {
  sala.kernel_call @k(%x) {family = "norm", arguments = ["in:0.k"]} : (tensor<?x32xf32>) -> ()
  return
}
