// run: sink-row-selection
func.func @step(%h: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %d: !sala.weights<[3, 8], f32>, %u: !sala.weights<[8, 3], f32>, %w: !sala.weights<[5, 4], f32>, %rows: tensor<?xi32>) -> (tensor<?x5xf32, #sala<rows logit_rows>>, tensor<?x8xf32>) {
  %x = sala.rms_norm %h, %n {eps = 1.0e-6 : f64, groups = 2 : i64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32>
  %c = sala.cast %x : tensor<?x8xf32> -> tensor<?x8xbf16>
  %l = sala.linear %c, %d {scale = 0.5 : f64} : tensor<?x8xbf16>, !sala.weights<[3, 8], f32> -> tensor<?x3xf32>
  %s = sala.silu %l : tensor<?x3xf32> -> tensor<?x3xbf16>
  %g = sala.linear %s, %u : tensor<?x3xbf16>, !sala.weights<[8, 3], f32> -> tensor<?x8xf32>
  %y = sala.output_gate %x, %g : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m = sala.join_streams %y {streams = 2 : i64} : tensor<?x8xf32> -> tensor<?x4xbf16>
  %z = sala.logits %m, %rows, %w : tensor<?x4xbf16>, !sala.weights<[5, 4], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %z, %h : tensor<?x5xf32, #sala<rows logit_rows>>, tensor<?x8xf32>
}
// -----
func.func @step(%h: tensor<?x8xf32>, %n: !sala.weights<[8], f32>, %d: !sala.weights<[3, 8], f32>, %u: !sala.weights<[8, 3], f32>, %w: !sala.weights<[5, 4], f32>, %rows: tensor<?xi32>) -> (tensor<?x5xf32, #sala<rows logit_rows>>, tensor<?x8xf32>) {
  %x = sala.rms_norm %h, %n rows(%rows) {eps = 1.0e-6 : f64, groups = 2 : i64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32, #sala<rows logit_rows>>
  %c = sala.cast %x : tensor<?x8xf32, #sala<rows logit_rows>> -> tensor<?x8xbf16, #sala<rows logit_rows>>
  %l = sala.linear %c, %d {scale = 0.5 : f64} : tensor<?x8xbf16, #sala<rows logit_rows>>, !sala.weights<[3, 8], f32> -> tensor<?x3xf32, #sala<rows logit_rows>>
  %s = sala.silu %l : tensor<?x3xf32, #sala<rows logit_rows>> -> tensor<?x3xbf16, #sala<rows logit_rows>>
  %g = sala.linear %s, %u : tensor<?x3xbf16, #sala<rows logit_rows>>, !sala.weights<[8, 3], f32> -> tensor<?x8xf32, #sala<rows logit_rows>>
  %y = sala.output_gate %x, %g : tensor<?x8xf32, #sala<rows logit_rows>>, tensor<?x8xf32, #sala<rows logit_rows>> -> tensor<?x8xf32, #sala<rows logit_rows>>
  %m = sala.join_streams %y {streams = 2 : i64} : tensor<?x8xf32, #sala<rows logit_rows>> -> tensor<?x4xbf16, #sala<rows logit_rows>>
  %z = sala.linear %m, %w : tensor<?x4xbf16, #sala<rows logit_rows>>, !sala.weights<[5, 4], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %z, %h : tensor<?x5xf32, #sala<rows logit_rows>>, tensor<?x8xf32>
}
