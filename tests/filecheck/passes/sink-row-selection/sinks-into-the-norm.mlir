// run: sink-row-selection
func.func @step(%h: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %w: !sala.weights<[5, 8], f32>, %rows: tensor<?xi32>) -> tensor<?x5xf32, #sala<rows logit_rows>> {
  %x = sala.rms_norm %h, %n {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xbf16>
  %y = sala.logits %x, %rows, %w {scale = 0.0625 : f64} : tensor<?x8xbf16>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x5xf32, #sala<rows logit_rows>>
}
// -----
func.func @step(%h: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %w: !sala.weights<[5, 8], f32>, %rows: tensor<?xi32>) -> tensor<?x5xf32, #sala<rows logit_rows>> {
  %x = sala.rms_norm %h, %n rows(%rows) {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xbf16, #sala<rows logit_rows>>
  %y = sala.linear %x, %w {scale = 0.0625 : f64} : tensor<?x8xbf16, #sala<rows logit_rows>>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x5xf32, #sala<rows logit_rows>>
}
