// run: quantize-weights{quantization="int4-g128" dtype="float32"}
func.func @step(%h: tensor<?x8xf32>, %rows: tensor<?xi32>) -> tensor<?x5xf32, #sala<rows logit_rows>> {
  %w = sala.weight @head : !sala.weights<[5, 8], f32>
  %y = sala.logits %h, %rows, %w {scale = 5.0e-01 : f64} : tensor<?x8xf32>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x5xf32, #sala<rows logit_rows>>
}
func.func @tied(%tokens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x5xf32, #sala<rows logit_rows>> {
  %w = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %h = sala.embedding %tokens, %w {scale = 1.200000e+01 : f64} : !sala.weights<[5, 8], f32> -> tensor<?x8xf32>
  %y = sala.logits %h, %rows, %w {scale = 5.0e-01 : f64} : tensor<?x8xf32>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x5xf32, #sala<rows logit_rows>>
}
// -----
func.func @step(%h: tensor<?x8xf32>, %rows: tensor<?xi32>) -> tensor<?x5xf32, #sala<rows logit_rows>> {
  %w = sala.weight @head : !sala.weights<[5, 8], f32>
  %q = sala.quantize_weight %w : !sala.weights<[5, 8], f32> -> !sala.weights<[5, 8], f32, #sala.encoding<int8, 128>>
  %y = sala.logits %h, %rows, %q {scale = 5.0e-01 : f64} : tensor<?x8xf32>, !sala.weights<[5, 8], f32, #sala.encoding<int8, 128>> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x5xf32, #sala<rows logit_rows>>
}
func.func @tied(%tokens: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x5xf32, #sala<rows logit_rows>> {
  %w = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %h = sala.embedding %tokens, %w {scale = 1.200000e+01 : f64} : !sala.weights<[5, 8], f32> -> tensor<?x8xf32>
  %y = sala.logits %h, %rows, %w {scale = 5.0e-01 : f64} : tensor<?x8xf32>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x5xf32, #sala<rows logit_rows>>
}
