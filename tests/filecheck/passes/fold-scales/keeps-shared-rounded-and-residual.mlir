// run: fold-scales
func.func @step(%h: tensor<?x8xf32>, %x: tensor<?x4xf32>, %w: !sala.weights<[8, 4], f32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %shared = sala.linear %x, %w : tensor<?x4xf32>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  %a = sala.residual_add %h, %shared {scale = 0.25 : f64} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %rounded = sala.linear %x, %w : tensor<?x4xf32>, !sala.weights<[8, 4], f32> -> tensor<?x8xbf16>
  %b = sala.residual_add %h, %rounded {scale = 0.25 : f64} : tensor<?x8xf32>, tensor<?x8xbf16> -> tensor<?x8xf32>
  %summed = sala.linear %x, %w residual(%h : tensor<?x8xf32>) : tensor<?x4xf32>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  %c = sala.residual_add %h, %summed {scale = 0.25 : f64} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %shared, %a, %b, %c : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}
