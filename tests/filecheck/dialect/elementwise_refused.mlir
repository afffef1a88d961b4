// REFUSE: 31 gates do not divide 32 columns
func.func @f(%x: tensor<?x32xf32>, %y: tensor<?x31xf32>) {
  %z = sala.output_gate %x, %y : tensor<?x32xf32>, tensor<?x31xf32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: there must be 32 columns, not 31
func.func @f(%x: tensor<?x32xf32>, %y: tensor<?x31xf32>) {
  %z = sala.swiglu %x, %y : tensor<?x32xf32>, tensor<?x31xf32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: there must be 32 columns, not 31
func.func @f(%x: tensor<?x32xf32>, %y: tensor<?x31xf32>) {
  %z = sala.residual_add %x, %y : tensor<?x32xf32>, tensor<?x31xf32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: there must be 32 columns, not 31
func.func @f(%x: tensor<?x32xf32>) {
  %z = sala.residual_add %x, %x : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x31xf32>
  return
}
// -----
// REFUSE: limit must not be negative
func.func @limit(%x: tensor<?x32xf32>) {
  %z = sala.swiglu %x, %x {limit = -1.000000e+00 : f64} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  return
}
