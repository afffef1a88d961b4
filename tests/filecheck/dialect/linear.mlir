func.func @linears(%x: tensor<?x32xf32>, %w: !sala.weights<[48, 32], f32>, %b: !sala.weights<[48], f32>, %h: tensor<?x48xf32>, %some: tensor<?x32xf32, #sala<rows logit_rows>>, %late: tensor<?x48xf32, #sala<rows logit_rows>>) {
  %y = sala.linear %x, %w : tensor<?x32xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32>
  %biased = sala.linear %x, %w bias(%b : !sala.weights<[48], f32>) {layer = 1 : i64} : tensor<?x32xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xbf16>
  %sum = sala.linear %x, %w residual(%h : tensor<?x48xf32>) {scale = 2.500000e-01 : f64} : tensor<?x32xf32>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32>
  %rows = sala.linear %some, %w bias(%b : !sala.weights<[48], f32>) residual(%late : tensor<?x48xf32, #sala<rows logit_rows>>) : tensor<?x32xf32, #sala<rows logit_rows>>, !sala.weights<[48, 32], f32> -> tensor<?x48xf32, #sala<rows logit_rows>>
  %part = sala.slice %y {start = 16 : i64, size = 32 : i64} : tensor<?x48xf32> -> tensor<?x32xf32>
  return
}
// -----
// 24 columns out of twice 24 rows, each half padded to 32.
func.func @swiglu(%x: tensor<?x32xbf16>, %w: !sala.weights<[64, 32], bf16>, %b: !sala.weights<[64], f32>) {
  %y = sala.linear %x, %w bias(%b : !sala.weights<[64], f32>) epilogue swiglu : tensor<?x32xbf16>, !sala.weights<[64, 32], bf16> -> tensor<?x24xbf16>
  %limited = sala.linear %x, %w epilogue swiglu {limit = 1.000000e+01 : f64} : tensor<?x32xbf16>, !sala.weights<[64, 32], bf16> -> tensor<?x24xbf16>
  return
}
// -----
func.func @rounded(%x: tensor<?x256xf32>, %w: !sala.weights<[48, 256], f32, #sala.encoding<int8, 256>>) {
  %y = sala.linear %x, %w {activation_group = 128 : i64} : tensor<?x256xf32>, !sala.weights<[48, 256], f32, #sala.encoding<int8, 256>> -> tensor<?x48xf32>
  return
}
