// run: quantize-activations{activations="int8"}
func.func @step(%x: tensor<?x256xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %wp = sala.weight @plain {layer = 0 : i64} : !sala.weights<[16, 256], f32>
  %wg = sala.weight @gate {layer = 0 : i64, role = #sala<weight_role output_gate>} : !sala.weights<[16, 256], f32, #sala.encoding<int4, 32>>
  %wa = sala.weight @a {layer = 0 : i64} : !sala.weights<[16, 256], f32, #sala.encoding<int4, 32>>
  %wb = sala.weight @b {layer = 0 : i64} : !sala.weights<[16, 256], f32, #sala.encoding<int8, 256, stored>>
  %p = sala.linear %x, %wp {layer = 0 : i64} : tensor<?x256xf32>, !sala.weights<[16, 256], f32> -> tensor<?x16xf32>
  %g = sala.linear %x, %wg {layer = 0 : i64} : tensor<?x256xf32>, !sala.weights<[16, 256], f32, #sala.encoding<int4, 32>> -> tensor<?x16xf32>
  %a = sala.linear %x, %wa {layer = 0 : i64} : tensor<?x256xf32>, !sala.weights<[16, 256], f32, #sala.encoding<int4, 32>> -> tensor<?x16xf32>
  %b = sala.linear %x, %wb {layer = 0 : i64} : tensor<?x256xf32>, !sala.weights<[16, 256], f32, #sala.encoding<int8, 256, stored>> -> tensor<?x16xf32>
  %y = sala.output_gate %a, %g {layer = 0 : i64} : tensor<?x16xf32>, tensor<?x16xf32> -> tensor<?x16xf32>
  func.return %y, %b, %p : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}
// -----
func.func @step(%x: tensor<?x256xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %wp = sala.weight @plain {layer = 0 : i64} : !sala.weights<[16, 256], f32>
  %wg = sala.weight @gate {layer = 0 : i64, role = #sala<weight_role output_gate>} : !sala.weights<[16, 256], f32, #sala.encoding<int4, 32>>
  %wa = sala.weight @a {layer = 0 : i64} : !sala.weights<[16, 256], f32, #sala.encoding<int4, 32>>
  %wb = sala.weight @b {layer = 0 : i64} : !sala.weights<[16, 256], f32, #sala.encoding<int8, 256, stored>>
  %p = sala.linear %x, %wp {layer = 0 : i64} : tensor<?x256xf32>, !sala.weights<[16, 256], f32> -> tensor<?x16xf32>
  %g = sala.linear %x, %wg {layer = 0 : i64} : tensor<?x256xf32>, !sala.weights<[16, 256], f32, #sala.encoding<int4, 32>> -> tensor<?x16xf32>
  %a = sala.linear %x, %wa {activation_group = 32 : i64, layer = 0 : i64} : tensor<?x256xf32>, !sala.weights<[16, 256], f32, #sala.encoding<int4, 32>> -> tensor<?x16xf32>
  %b = sala.linear %x, %wb {activation_group = 128 : i64, layer = 0 : i64} : tensor<?x256xf32>, !sala.weights<[16, 256], f32, #sala.encoding<int8, 256, stored>> -> tensor<?x16xf32>
  %y = sala.output_gate %a, %g {layer = 0 : i64} : tensor<?x16xf32>, tensor<?x16xf32> -> tensor<?x16xf32>
  func.return %y, %b, %p : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}
