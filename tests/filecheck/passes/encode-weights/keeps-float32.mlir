// run: encode-weights{dtype="float32"}
func.func @step(%x: tensor<?x8xf32>) -> tensor<?x5xf32> {
  %w = sala.weight @w : !sala.weights<[5, 8], f32>
  %y = sala.linear %x, %w : tensor<?x8xf32>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32>
  func.return %y : tensor<?x5xf32>
}
