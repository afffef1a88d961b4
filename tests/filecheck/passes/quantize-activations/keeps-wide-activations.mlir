// run: quantize-activations{activations="wide"}
func.func @step(%x: tensor<?x32xf32>) -> tensor<?x5xf32> {
  %w = sala.weight @w {layer = 0 : i64} : !sala.weights<[5, 32], f32, #sala.encoding<int4, 32>>
  %y = sala.linear %x, %w {layer = 0 : i64} : tensor<?x32xf32>, !sala.weights<[5, 32], f32, #sala.encoding<int4, 32>> -> tensor<?x5xf32>
  func.return %y : tensor<?x5xf32>
}
