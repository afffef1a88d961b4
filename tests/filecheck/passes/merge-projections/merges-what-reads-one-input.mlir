// run: merge-projections
func.func @step(%x: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x4xf32>) {
  %a = sala.weight @a {layer = 1 : i64} : !sala.weights<[4, 8], f32>
  %q = sala.linear %x, %a {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %b = sala.weight @b {layer = 1 : i64} : !sala.weights<[2, 8], f32>
  %k = sala.linear %x, %b {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[2, 8], f32> -> tensor<?x2xf32>
  %g = sala.output_gate %q, %q {layer = 1 : i64} : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  %c = sala.weight @c {layer = 1 : i64} : !sala.weights<[4, 8], f32>
  %v = sala.linear %x, %c {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  func.return %g, %k, %v : tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x4xf32>
}
// -----
func.func @step(%x: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x4xf32>) {
  %a = sala.weight @a {layer = 1 : i64} : !sala.weights<[4, 8], f32>
  %b = sala.weight @b {layer = 1 : i64} : !sala.weights<[2, 8], f32>
  %c = sala.weight @c {layer = 1 : i64} : !sala.weights<[4, 8], f32>
  %w = sala.concat_weights %a, %b, %c {layer = 1 : i64} : (!sala.weights<[4, 8], f32>, !sala.weights<[2, 8], f32>, !sala.weights<[4, 8], f32>) -> !sala.weights<[10, 8], f32>
  %y = sala.linear %x, %w {layer = 1 : i64} : tensor<?x8xf32>, !sala.weights<[10, 8], f32> -> tensor<?x10xf32>
  %q = sala.slice %y {start = 0 : i64, size = 4 : i64, layer = 1 : i64} : tensor<?x10xf32> -> tensor<?x4xf32>
  %k = sala.slice %y {start = 4 : i64, size = 2 : i64, layer = 1 : i64} : tensor<?x10xf32> -> tensor<?x2xf32>
  %v = sala.slice %y {start = 6 : i64, size = 4 : i64, layer = 1 : i64} : tensor<?x10xf32> -> tensor<?x4xf32>
  %g = sala.output_gate %q, %q {layer = 1 : i64} : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  func.return %g, %k, %v : tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x4xf32>
}
