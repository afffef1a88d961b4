// run: quantize-weights{quantization="none" dtype="float32"}
func.func @step(%x: tensor<?x8xf32>) -> tensor<?x5xf32> {
  %w = sala.weight @w {layer = 0 : i64} : !sala.weights<[5, 8], f32>
  %y = sala.linear %x, %w {layer = 0 : i64} : tensor<?x8xf32>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32>
  func.return %y : tensor<?x5xf32>
}
