// run: encode-weights{dtype="bfloat16"}
func.func @step(%tokens: tensor<?xi32>) -> tensor<?x5xf32> {
  %e = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %n = sala.weight @norm : !sala.weights<[8], f32>
  %b = sala.weight @bias : !sala.weights<[5], f32>
  %h = sala.embedding %tokens, %e : !sala.weights<[5, 8], f32> -> tensor<?x8xf32>
  %x = sala.rms_norm %h, %n {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xbf16>
  %y = sala.linear %x, %e bias(%b : !sala.weights<[5], f32>) : tensor<?x8xbf16>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32>
  func.return %y : tensor<?x5xf32>
}
// -----
func.func @step(%tokens: tensor<?xi32>) -> tensor<?x5xf32> {
  %e32 = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %e = sala.cast_weight %e32 : !sala.weights<[5, 8], f32> -> !sala.weights<[5, 8], bf16>
  %n = sala.weight @norm : !sala.weights<[8], f32>
  %b = sala.weight @bias : !sala.weights<[5], f32>
  %h = sala.embedding %tokens, %e : !sala.weights<[5, 8], bf16> -> tensor<?x8xf32>
  %x = sala.rms_norm %h, %n {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xbf16>
  %y = sala.linear %x, %e bias(%b : !sala.weights<[5], f32>) : tensor<?x8xbf16>, !sala.weights<[5, 8], bf16> -> tensor<?x5xf32>
  func.return %y : tensor<?x5xf32>
}
