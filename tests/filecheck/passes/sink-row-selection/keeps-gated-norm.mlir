// run: sink-row-selection
func.func @step(%x: tensor<?x4xf32>, %gate: tensor<?x4xf32>, %w: !sala.weights<[4], f32>, %head: !sala.weights<[6, 4], f32>, %rows: tensor<?xi32>) -> tensor<?x6xf32, #sala<rows logit_rows>> {
  %n = sala.rms_norm %x, %w gate(%gate : tensor<?x4xf32>) {eps = 1.0e-6 : f64} : tensor<?x4xf32>, !sala.weights<[4], f32> -> tensor<?x4xf32>
  %y = sala.logits %n, %rows, %head : tensor<?x4xf32>, !sala.weights<[6, 4], f32> -> tensor<?x6xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x6xf32, #sala<rows logit_rows>>
}
