// run: sink-row-selection
func.func @step(%h: tensor<?x8xf32>, %w: !sala.weights<[5, 8], f32>, %rows: tensor<?xi32>) -> tensor<?x5xf32, #sala<rows logit_rows>> {
  %y = sala.logits %h, %rows, %w {scale = 0.0625 : f64} : tensor<?x8xf32>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x5xf32, #sala<rows logit_rows>>
}
