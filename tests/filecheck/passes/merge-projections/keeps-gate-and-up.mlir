// run: merge-projections
func.func @step(%x: tensor<?x8xf32>, %a: !sala.weights<[4, 8], f32>, %b: !sala.weights<[4, 8], f32>) -> tensor<?x4xf32> {
  %gate = sala.linear %x, %a : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %up = sala.linear %x, %b : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
  %y = sala.swiglu %gate, %up : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  func.return %y : tensor<?x4xf32>
}
