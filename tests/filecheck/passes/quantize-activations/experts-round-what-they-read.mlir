// run: quantize-activations{activations="int8"}
func.func @step(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>) -> tensor<?x32xf32> {
  %up = sala.weight @mlp.experts.up.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 24 : i64} : !sala.weights<[320, 32], f32, #sala.encoding<int4, 32>>
  %down = sala.weight @mlp.experts.down.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 32 : i64} : !sala.weights<[320, 24], f32, #sala.encoding<int4, 32>>
  %inner = sala.expert_up %x, %ids, %up by squared_relu {layer = 0 : i64, count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32, #sala.encoding<int4, 32>> -> tensor<?x128xf32>
  %y = sala.expert_down %inner, %ids, %gates, %down {layer = 0 : i64, count = 5 : i64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], f32, #sala.encoding<int4, 32>> -> tensor<?x32xf32>
  func.return %y : tensor<?x32xf32>
}
// -----
func.func @step(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>) -> tensor<?x32xf32> {
  %up = sala.weight @mlp.experts.up.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 24 : i64} : !sala.weights<[320, 32], f32, #sala.encoding<int4, 32>>
  %down = sala.weight @mlp.experts.down.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 32 : i64} : !sala.weights<[320, 24], f32, #sala.encoding<int4, 32>>
  %inner = sala.expert_up %x, %ids, %up by squared_relu {layer = 0 : i64, count = 5 : i64, activation_group = 32 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32, #sala.encoding<int4, 32>> -> tensor<?x128xf32>
  %y = sala.expert_down %inner, %ids, %gates, %down {layer = 0 : i64, count = 5 : i64, activation_group = 32 : i64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], f32, #sala.encoding<int4, 32>> -> tensor<?x32xf32>
  func.return %y : tensor<?x32xf32>
}
