// run: fold-scales
func.func @step(%h: tensor<?x8xf32>, %x: tensor<?x4xf32>, %w: !sala.weights<[8, 4], f32>) -> tensor<?x8xf32> {
  %y = sala.linear %x, %w {scale = 2.0 : f64, layer = 3 : i64} : tensor<?x4xf32>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  %z = sala.residual_add %h, %y {scale = 0.25 : f64, layer = 3 : i64} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %z : tensor<?x8xf32>
}
// -----
func.func @step(%h: tensor<?x8xf32>, %x: tensor<?x4xf32>, %w: !sala.weights<[8, 4], f32>) -> tensor<?x8xf32> {
  %y = sala.linear %x, %w {scale = 0.5 : f64, layer = 3 : i64} : tensor<?x4xf32>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  %z = sala.residual_add %h, %y {layer = 3 : i64} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %z : tensor<?x8xf32>
}
