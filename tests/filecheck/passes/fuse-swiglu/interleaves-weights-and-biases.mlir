// run: fuse-swiglu
func.func @step(%x: tensor<?x8xf32>) -> tensor<?x20xbf16> {
  %a = sala.weight @a : !sala.weights<[20, 8], f32>
  %b = sala.weight @b : !sala.weights<[20, 8], f32>
  %c = sala.weight @c : !sala.weights<[20], f32>
  %gate = sala.linear %x, %a bias(%c : !sala.weights<[20], f32>) {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %up = sala.linear %x, %b bias(%c : !sala.weights<[20], f32>) {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %y = sala.swiglu %gate, %up {layer = 1 : i64} : tensor<?x20xf32>, tensor<?x20xf32> -> tensor<?x20xbf16>
  func.return %y : tensor<?x20xbf16>
}
// -----
func.func @step(%x: tensor<?x8xf32>) -> tensor<?x20xbf16> {
  %a = sala.weight @a : !sala.weights<[20, 8], f32>
  %b = sala.weight @b : !sala.weights<[20, 8], f32>
  %c = sala.weight @c : !sala.weights<[20], f32>
  %bias = sala.interleave_weights %c, %c {layer = 1 : i64} : !sala.weights<[20], f32>, !sala.weights<[20], f32> -> !sala.weights<[64], f32>
  %w = sala.interleave_weights %a, %b {layer = 1 : i64} : !sala.weights<[20, 8], f32>, !sala.weights<[20, 8], f32> -> !sala.weights<[64, 8], f32>
  %y = sala.linear %x, %w bias(%bias : !sala.weights<[64], f32>) epilogue swiglu {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[64, 8], f32> -> tensor<?x20xbf16>
  func.return %y : tensor<?x20xbf16>
}
