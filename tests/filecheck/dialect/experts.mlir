func.func @route(%scores: tensor<?x12xf32>, %bias: !sala.weights<[12], f32>) -> (tensor<?x3xi32>, tensor<?x3xf32>) {
  %experts, %gates = sala.route %scores bias(%bias : !sala.weights<[12], f32>) by sigmoid {layer = 1 : i64, chosen = 3 : i64, groups = 4 : i64, chosen_groups = 2 : i64, eps = 1.000000e-20 : f64, scale = 2.500000e+00 : f64} : tensor<?x12xf32> -> tensor<?x3xi32>, tensor<?x3xf32>
  return %experts, %gates : tensor<?x3xi32>, tensor<?x3xf32>
}
// -----
func.func @softmax(%scores: tensor<?x12xf32>) -> (tensor<?x3xi32>, tensor<?x3xf32>) {
  %experts, %gates = sala.route %scores by softmax {layer = 1 : i64, chosen = 3 : i64, normalised = 0 : i64} : tensor<?x12xf32> -> tensor<?x3xi32>, tensor<?x3xf32>
  return %experts, %gates : tensor<?x3xi32>, tensor<?x3xf32>
}
// -----
// Five experts of 24 columns: in x and in y each has 64.
func.func @experts(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>, %h: tensor<?x32xf32>) -> tensor<?x32xf32> {
  %up = sala.weight @layers.0.mlp.experts.up.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 24 : i64} : !sala.weights<[320, 32], f32>
  %gate = sala.weight @layers.0.mlp.experts.gate.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 24 : i64} : !sala.weights<[320, 32], f32>
  %down = sala.weight @layers.0.mlp.experts.down.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 32 : i64} : !sala.weights<[320, 24], f32>
  %inner = sala.expert_up %x, %ids, %up gate(%gate : !sala.weights<[320, 32], f32>) by swiglu {layer = 0 : i64, count = 5 : i64, limit = 7.000000e+00 : f64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32> -> tensor<?x128xf32>
  %y = sala.expert_down %inner, %ids, %gates, %down residual(%h : tensor<?x32xf32>) {layer = 0 : i64, count = 5 : i64, scale = 5.000000e-01 : f64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], f32> -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}
// -----
func.func @squared(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[320, 32], f32>) -> tensor<?x128xf32> {
  %inner = sala.expert_up %x, %ids, %up by squared_relu {layer = 0 : i64, count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32> -> tensor<?x128xf32>
  return %inner : tensor<?x128xf32>
}
// -----
// Gate and up in one weight: 128 rows of each of 5 experts.
func.func @interleaved(%x: tensor<?x32xbf16>, %ids: tensor<?x2xi32>, %both: !sala.weights<[640, 32], bf16, #sala.encoding<int4, 32>>) -> tensor<?x128xbf16> {
  %inner = sala.expert_up %x, %ids, %both by swiglu {layer = 0 : i64, count = 5 : i64, activation_group = 32 : i64} : tensor<?x32xbf16>, tensor<?x2xi32>, !sala.weights<[640, 32], bf16, #sala.encoding<int4, 32>> -> tensor<?x128xbf16>
  return %inner : tensor<?x128xbf16>
}
// -----
func.func @weights(%w: !sala.weights<[48, 4], f32>, %norm: !sala.weights<[48], f32>) -> (!sala.weights<[8, 4], f32>, !sala.weights<[48], f32>) {
  %rows = sala.slice_weight %w {layer = 2 : i64, start = 3 : i64, size = 2 : i64, period = 12 : i64} : !sala.weights<[48, 4], f32> -> !sala.weights<[8, 4], f32>
  %more = sala.offset_weight %norm {layer = 2 : i64, offset = 1.000000e+00 : f64} : !sala.weights<[48], f32> -> !sala.weights<[48], f32>
  return %rows, %more : !sala.weights<[8, 4], f32>, !sala.weights<[48], f32>
}
// -----
func.func @gate_of_heads(%x: tensor<?x48xf32>, %gate: tensor<?x6xf32>) -> tensor<?x48xf32> {
  %y = sala.output_gate %x, %gate {layer = 2 : i64} : tensor<?x48xf32>, tensor<?x6xf32> -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
