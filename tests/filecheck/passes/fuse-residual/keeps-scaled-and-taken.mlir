// run: fuse-residual
func.func @step(%h: tensor<?x8xf32>, %x: tensor<?x4xf32>, %w: !sala.weights<[8, 4], f32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %a = sala.linear %x, %w : tensor<?x4xf32>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  %scaled = sala.residual_add %h, %a {scale = 0.5 : f64} : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %b = sala.linear %x, %w residual(%h : tensor<?x8xf32>) : tensor<?x4xf32>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  %taken = sala.residual_add %h, %b : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %c = sala.linear %x, %w : tensor<?x4xf32>, !sala.weights<[8, 4], f32> -> tensor<?x8xf32>
  %doubled = sala.residual_add %c, %c : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  func.return %scaled, %taken, %doubled : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}
