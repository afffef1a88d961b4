// run: fuse-residual
func.func @step(%h: tensor<?x8xf32>, %x: tensor<?x4xbf16>, %w: !sala.weights<[8, 4], f32>, %b: !sala.weights<[8], f32>) -> tensor<?x8xf32> {
  %y = sala.linear %x, %w bias(%b : !sala.weights<[8], f32>) {scale = 0.5 : f64, layer = 3 : i64} : tensor<?x4xbf16>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  %z = sala.residual_add %h, %y {layer = 3 : i64} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %z : tensor<?x8xf32>
}
// -----
func.func @step(%h: tensor<?x8xf32>, %x: tensor<?x4xbf16>, %w: !sala.weights<[8, 4], f32>, %b: !sala.weights<[8], f32>) -> tensor<?x8xf32> {
  %z = sala.linear %x, %w bias(%b : !sala.weights<[8], f32>) residual(%h : tensor<?x8xf32>) {scale = 0.5 : f64, layer = 3 : i64} : tensor<?x4xbf16>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  func.return %z : tensor<?x8xf32>
}
