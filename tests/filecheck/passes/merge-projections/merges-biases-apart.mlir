// run: merge-projections
func.func @step(%x: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %a = sala.weight @a : !sala.weights<[4, 8], f32>
  %c = sala.weight @c : !sala.weights<[4], f32>
  %q = sala.linear %x, %a bias(%c : !sala.weights<[4], f32>) : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %k = sala.linear %x, %a : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %d = sala.weight @d : !sala.weights<[4], f32>
  %v = sala.linear %x, %a bias(%d : !sala.weights<[4], f32>) : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  func.return %q, %k, %v : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
// -----
func.func @step(%x: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %a = sala.weight @a : !sala.weights<[4, 8], f32>
  %c = sala.weight @c : !sala.weights<[4], f32>
  %w = sala.concat_weights %a, %a : (!sala.weights<[4, 8], f32>, !sala.weights<[4, 8], f32>) -> !sala.weights<[8, 8], f32>
  %d = sala.weight @d : !sala.weights<[4], f32>
  %b = sala.concat_weights %c, %d : (!sala.weights<[4], f32>, !sala.weights<[4], f32>) -> !sala.weights<[8], f32>
  %y = sala.linear %x, %w bias(%b : !sala.weights<[8], f32>) : tensor<?x8xf32>, !sala.weights<[8, 8], f32> -> tensor<?x8xf32>
  %q = sala.slice %y {start = 0 : i64, size = 4 : i64} : tensor<?x8xf32> -> tensor<?x4xf32>
  %v = sala.slice %y {start = 4 : i64, size = 4 : i64} : tensor<?x8xf32> -> tensor<?x4xf32>
  %k = sala.linear %x, %a : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  func.return %q, %k, %v : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
