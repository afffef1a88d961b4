// run: sink-row-selection
func.func @step(%h: tensor<?x8xf32>, %n: !sala.weight<[8], f32>, %w: !sala.weight<[5, 8], f32>, %rows: tensor<?xi32>) -> tensor<?x5xf32> {
  %x = sala.rms_norm %h, %n {eps = 1.0e-6 : f64, group = 8 : i64} : tensor<?x8xf32>, !sala.weight<[8], f32> -> tensor<?x8xbf16>
  %y = sala.logits %x, %rows, %w {scale = 0.0625 : f64} : tensor<?x8xbf16>, !sala.weight<[5, 8], f32> -> tensor<?x5xf32>
  func.return %y : tensor<?x5xf32>
}
// -----
func.func @step(%h: tensor<?x8xf32>, %n: !sala.weight<[8], f32>, %w: !sala.weight<[5, 8], f32>, %rows: tensor<?xi32>) -> tensor<?x5xf32> {
  %x = sala.rms_norm %h, %n rows(%rows) {eps = 1.0e-6 : f64, group = 8 : i64} : tensor<?x8xf32>, !sala.weight<[8], f32> -> tensor<?x8xbf16>
  %y = sala.linear %x, %w {scale = 0.0625 : f64, epilogue = "none", extent = "logit_rows"} : tensor<?x8xbf16>, !sala.weight<[5, 8], f32> -> tensor<?x5xf32>
  func.return %y : tensor<?x5xf32>
}
