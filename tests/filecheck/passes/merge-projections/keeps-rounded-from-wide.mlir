// run: merge-projections
func.func @step(%x: tensor<?x32xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %wa = sala.weight @a {layer = 0 : i64} : !sala.weights<[16, 32], f32, #sala.encoding<int4, 32>>
  %wb = sala.weight @b {layer = 0 : i64} : !sala.weights<[16, 32], f32, #sala.encoding<int4, 32>>
  %a = sala.linear %x, %wa {activation_group = 32 : i64, layer = 0 : i64} : tensor<?x32xf32>, !sala.weights<[16, 32], f32, #sala.encoding<int4, 32>> -> tensor<?x16xf32>
  %b = sala.linear %x, %wb {layer = 0 : i64} : tensor<?x32xf32>, !sala.weights<[16, 32], f32, #sala.encoding<int4, 32>> -> tensor<?x16xf32>
  func.return %a, %b : tensor<?x16xf32>, tensor<?x16xf32>
}
