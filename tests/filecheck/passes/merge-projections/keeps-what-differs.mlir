// run: merge-projections
func.func @step(%x: tensor<?x8xf32>, %z: tensor<?x8xf32>, %h: tensor<?x4xf32>, %a: !sala.weights<[4, 8], f32>, %b: !sala.weights<[4, 8], bf16>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xbf16>) {
  %first = sala.linear %x, %a {layer = 0 : i64} : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %other_layer = sala.linear %x, %a {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %other_input = sala.linear %z, %a {layer = 0 : i64} : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %other_scale = sala.linear %x, %a {scale = 2.0 : f64, layer = 0 : i64} : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %residual = sala.linear %x, %a residual(%h : tensor<?x4xf32>) {layer = 0 : i64} : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %other_element = sala.linear %x, %b {layer = 0 : i64} : tensor<?x8xf32>, !sala.weights<[4, 8], bf16> -> tensor<?x4xbf16>
  func.return %first, %other_layer, %other_input, %other_scale, %residual, %other_element : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xbf16>
}
