// REFUSE: weight must have shape [48, 31], not [48, 32]
func.func @f(%x: tensor<?x31xf32>, %w: !sala.weights<[48, 32], f32>) {
  %y = sala.linear %x, %w : tensor<?x31xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32>
  return
}
// -----
// REFUSE: bias must have shape [48], not [47]
func.func @f(%x: tensor<?x32xf32>, %w: !sala.weights<[48, 32], f32>, %b: !sala.weights<[47], f32>) {
  %y = sala.linear %x, %w bias(%b : !sala.weights<[47], f32>) : tensor<?x32xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32>
  return
}
// -----
// REFUSE: there must be 32 columns, not 48
func.func @f(%x: tensor<?x32xf32>, %w: !sala.weights<[48, 32], f32>) {
  %y = sala.linear %x, %w residual(%x : tensor<?x32xf32>) : tensor<?x32xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32>
  return
}
// -----
// REFUSE: weight must have shape [96, 32], not [64, 32]
func.func @f(%x: tensor<?x32xf32>, %w: !sala.weights<[64, 32], f32>) {
  %y = sala.linear %x, %w epilogue swiglu : tensor<?x32xf32>, !sala.weights<[64, 32], f32> -> tensor<?x33xf32>
  return
}
// -----
// REFUSE: Expected `none`, or `swiglu`
func.func @f(%x: tensor<?x32xf32>, %w: !sala.weights<[48, 32], f32>) {
  %y = sala.linear %x, %w epilogue gelu : tensor<?x32xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32>
  return
}
// -----
// REFUSE: attribute none expected from variable 'rows', but got #sala<rows logit_rows>
func.func @f(%x: tensor<?x32xf32>, %w: !sala.weights<[48, 32], f32>) {
  %y = sala.linear %x, %w : tensor<?x32xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32, #sala<rows logit_rows>>
  return
}
// -----
// REFUSE: columns 16 .. 49 lie outside 0 .. 48
func.func @f(%x: tensor<?x48xf32>) {
  %y = sala.slice %x {start = 16 : i64, size = 33 : i64} : tensor<?x48xf32> -> tensor<?x33xf32>
  return
}
// -----
// REFUSE: columns -1 .. 15 lie outside
func.func @f(%x: tensor<?x48xf32>) {
  %y = sala.slice %x {start = -1 : i64, size = 16 : i64} : tensor<?x48xf32> -> tensor<?x16xf32>
  return
}
// -----
// REFUSE: result must have 16 columns, not 17
func.func @f(%x: tensor<?x48xf32>) {
  %y = sala.slice %x {start = 0 : i64, size = 16 : i64} : tensor<?x48xf32> -> tensor<?x17xf32>
  return
}
// -----
// REFUSE: a slice keeps the element type
func.func @f(%x: tensor<?x48xf32>) {
  %y = sala.slice %x {start = 0 : i64, size = 16 : i64} : tensor<?x48xf32> -> tensor<?x16xbf16>
  return
}
// -----
// REFUSE: activations of 8 bits need a weight of integers
func.func @f(%x: tensor<?x32xf32>, %w: !sala.weights<[48, 32], f32>) {
  %y = sala.linear %x, %w {activation_group = 32 : i64} : tensor<?x32xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32>
  return
}
// -----
// REFUSE: the activation group must be 128, not 256
func.func @f(%x: tensor<?x256xf32>, %w: !sala.weights<[48, 256], f32, #sala.encoding<int8, 256>>) {
  %y = sala.linear %x, %w {activation_group = 256 : i64} : tensor<?x256xf32>, !sala.weights<[48, 256], f32, #sala.encoding<int8, 256>> -> tensor<?x48xf32>
  return
}
// -----
// REFUSE: only the epilogue swiglu has a limit
func.func @limit(%x: tensor<?x32xf32>, %w: !sala.weights<[64, 32], f32>) {
  %y = sala.linear %x, %w {limit = 1.000000e+00 : f64} : tensor<?x32xf32>, !sala.weights<[64, 32], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: limit must not be negative
func.func @negative(%x: tensor<?x32xf32>, %w: !sala.weights<[64, 32], f32>) {
  %y = sala.linear %x, %w epilogue swiglu {limit = -1.000000e+00 : f64} : tensor<?x32xf32>, !sala.weights<[64, 32], f32> -> tensor<?x32xf32>
  return
}
