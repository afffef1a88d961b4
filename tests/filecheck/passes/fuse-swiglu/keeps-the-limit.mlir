// run: fuse-swiglu
func.func @step(%x: tensor<?x8xf32>) -> tensor<?x20xf32> {
  %a = sala.weight @a : !sala.weights<[20, 8], f32>
  %b = sala.weight @b : !sala.weights<[20, 8], f32>
  %gate = sala.linear %x, %a {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %up = sala.linear %x, %b {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %y = sala.swiglu %gate, %up {layer = 1 : i64, limit = 1.000000e+01 : f64} : tensor<?x20xf32>, tensor<?x20xf32> -> tensor<?x20xf32>
  func.return %y : tensor<?x20xf32>
}
// -----
func.func @step(%x: tensor<?x8xf32>) -> tensor<?x20xf32> {
  %a = sala.weight @a : !sala.weights<[20, 8], f32>
  %b = sala.weight @b : !sala.weights<[20, 8], f32>
  %w = sala.interleave_weights %a, %b {layer = 1 : i64} : !sala.weights<[20, 8], f32>, !sala.weights<[20, 8], f32> -> !sala.weights<[64, 8], f32>
  %y = sala.linear %x, %w epilogue swiglu {layer = 1 : i64, limit = 1.000000e+01 : f64} : tensor<?x8xf32>, !sala.weights<[64, 8], f32> -> tensor<?x20xf32>
  func.return %y : tensor<?x20xf32>
}
