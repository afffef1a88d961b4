// run: quantize-weights{quantization="int4-g32" dtype="bfloat16"}
func.func @step(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>) -> tensor<?x32xf32> {
  %up = sala.weight @mlp.experts.up.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 24 : i64} : !sala.weights<[320, 32], f32>
  %gate = sala.weight @mlp.experts.gate.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 24 : i64} : !sala.weights<[320, 32], f32>
  %down = sala.weight @mlp.experts.down.weight {role = #sala<weight_role routing>, layer = 0 : i64, experts = 5 : i64, expert_rows = 32 : i64} : !sala.weights<[320, 24], f32>
  %inner = sala.expert_up %x, %ids, %up gate(%gate : !sala.weights<[320, 32], f32>) by swiglu {layer = 0 : i64, count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32> -> tensor<?x128xf32>
  %y = sala.expert_down %inner, %ids, %gates, %down {layer = 0 : i64, count = 5 : i64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], f32> -> tensor<?x32xf32>
  func.return %y : tensor<?x32xf32>
}
// -----
func.func @step(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>) -> tensor<?x32xf32> {
  %up = sala.weight @mlp.experts.up.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 24 : i64} : !sala.weights<[320, 32], f32>
  %up_1 = sala.quantize_weight %up {layer = 0 : i64} : !sala.weights<[320, 32], f32> -> !sala.weights<[320, 32], bf16, #sala.encoding<int4, 32>>
  %gate = sala.weight @mlp.experts.gate.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 24 : i64} : !sala.weights<[320, 32], f32>
  %gate_1 = sala.quantize_weight %gate {layer = 0 : i64} : !sala.weights<[320, 32], f32> -> !sala.weights<[320, 32], bf16, #sala.encoding<int4, 32>>
  %down = sala.weight @mlp.experts.down.weight {layer = 0 : i64, role = #sala<weight_role routing>, experts = 5 : i64, expert_rows = 32 : i64} : !sala.weights<[320, 24], f32>
  %down_1 = sala.quantize_weight %down {layer = 0 : i64} : !sala.weights<[320, 24], f32> -> !sala.weights<[320, 24], bf16, #sala.encoding<int8, 128>>
  %inner = sala.expert_up %x, %ids, %up_1 gate(%gate_1 : !sala.weights<[320, 32], bf16, #sala.encoding<int4, 32>>) by swiglu {layer = 0 : i64, count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], bf16, #sala.encoding<int4, 32>> -> tensor<?x128xf32>
  %y = sala.expert_down %inner, %ids, %gates, %down_1 {layer = 0 : i64, count = 5 : i64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], bf16, #sala.encoding<int8, 128>> -> tensor<?x32xf32>
  func.return %y : tensor<?x32xf32>
}
