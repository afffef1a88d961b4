// REFUSE: gate must have 32 columns, not 31
func.func @f(%x: tensor<?x32xf32>, %y: tensor<?x31xf32>) {
  %z = sala.output_gate %x, %y : tensor<?x32xf32>, tensor<?x31xf32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: up must have 32 columns, not 31
func.func @f(%x: tensor<?x32xf32>, %y: tensor<?x31xf32>) {
  %z = sala.swiglu %x, %y : tensor<?x32xf32>, tensor<?x31xf32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: x must have 32 columns, not 31
func.func @f(%x: tensor<?x32xf32>, %y: tensor<?x31xf32>) {
  %z = sala.residual_add %x, %y : tensor<?x32xf32>, tensor<?x31xf32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: result must have 32 columns, not 31
func.func @f(%x: tensor<?x32xf32>) {
  %z = sala.residual_add %x, %x : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x31xf32>
  return
}
