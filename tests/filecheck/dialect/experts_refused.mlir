// REFUSE: 5 groups do not divide 12 experts
func.func @f(%scores: tensor<?x12xf32>) {
  %experts, %gates = sala.route %scores by softmax {chosen = 3 : i64, groups = 5 : i64} : tensor<?x12xf32> -> tensor<?x3xi32>, tensor<?x3xf32>
  return
}
// -----
// REFUSE: 5 of 4 groups cannot be chosen
func.func @f(%scores: tensor<?x12xf32>) {
  %experts, %gates = sala.route %scores by softmax {chosen = 3 : i64, groups = 4 : i64, chosen_groups = 5 : i64} : tensor<?x12xf32> -> tensor<?x3xi32>, tensor<?x3xf32>
  return
}
// -----
// REFUSE: 4 experts cannot be chosen among 3
func.func @f(%scores: tensor<?x12xf32>) {
  %experts, %gates = sala.route %scores by softmax {chosen = 4 : i64, groups = 4 : i64} : tensor<?x12xf32> -> tensor<?x4xi32>, tensor<?x4xf32>
  return
}
// -----
// REFUSE: a group has at least two experts
func.func @f(%scores: tensor<?x4xf32>) {
  %experts, %gates = sala.route %scores by softmax {chosen = 1 : i64, groups = 4 : i64} : tensor<?x4xf32> -> tensor<?x1xi32>, tensor<?x1xf32>
  return
}
// -----
// REFUSE: normalised is 0 or 1
func.func @f(%scores: tensor<?x12xf32>) {
  %experts, %gates = sala.route %scores by softmax {chosen = 3 : i64, normalised = 2 : i64} : tensor<?x12xf32> -> tensor<?x3xi32>, tensor<?x3xf32>
  return
}
// -----
// REFUSE: bias must have shape [12], not [11]
func.func @f(%scores: tensor<?x12xf32>, %bias: !sala.weights<[11], f32>) {
  %experts, %gates = sala.route %scores bias(%bias : !sala.weights<[11], f32>) by softmax {chosen = 3 : i64} : tensor<?x12xf32> -> tensor<?x3xi32>, tensor<?x3xf32>
  return
}
// -----
// REFUSE: experts must have 3 columns
func.func @f(%scores: tensor<?x12xf32>) {
  %experts, %gates = sala.route %scores by softmax {chosen = 3 : i64} : tensor<?x12xf32> -> tensor<?x2xi32>, tensor<?x3xf32>
  return
}
// -----
// REFUSE: gates must have 3 columns, not 2
func.func @f(%scores: tensor<?x12xf32>) {
  %experts, %gates = sala.route %scores by softmax {chosen = 3 : i64} : tensor<?x12xf32> -> tensor<?x3xi32>, tensor<?x2xf32>
  return
}
// -----
// REFUSE: weight must be 5 experts of whole 64 rows, not [300, 32]
func.func @f(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[300, 32], f32>) {
  %inner = sala.expert_up %x, %ids, %up by squared_relu {count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[300, 32], f32> -> tensor<?x120xf32>
  return
}
// -----
// REFUSE: weight must have 32 columns, not 31
func.func @f(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[320, 31], f32>) {
  %inner = sala.expert_up %x, %ids, %up by squared_relu {count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 31], f32> -> tensor<?x128xf32>
  return
}
// -----
// REFUSE: has no gate
func.func @f(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[320, 32], f32>) {
  %inner = sala.expert_up %x, %ids, %up gate(%up : !sala.weights<[320, 32], f32>) by squared_relu {count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32> -> tensor<?x128xf32>
  return
}
// -----
// REFUSE: gate must be
func.func @f(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[320, 32], f32>, %gate: !sala.weights<[640, 32], f32>) {
  %inner = sala.expert_up %x, %ids, %up gate(%gate : !sala.weights<[640, 32], f32>) by swiglu {count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32> -> tensor<?x128xf32>
  return
}
// -----
// REFUSE: limit must not be negative
func.func @f(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[320, 32], f32>) {
  %inner = sala.expert_up %x, %ids, %up by squared_relu {count = 5 : i64, limit = -1.000000e+00 : f64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32> -> tensor<?x128xf32>
  return
}
// -----
// REFUSE: result must have 128 columns, not 64
func.func @f(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[320, 32], f32>) {
  %inner = sala.expert_up %x, %ids, %up by squared_relu {count = 5 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: activations of 8 bits need a weight of integers
func.func @f(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[320, 32], f32>) {
  %inner = sala.expert_up %x, %ids, %up by squared_relu {count = 5 : i64, activation_group = 32 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32> -> tensor<?x128xf32>
  return
}
// -----
// REFUSE: the activation group must be 32, not 64
func.func @f(%x: tensor<?x32xf32>, %ids: tensor<?x2xi32>, %up: !sala.weights<[320, 32], f32, #sala.encoding<int4, 32>>) {
  %inner = sala.expert_up %x, %ids, %up by squared_relu {count = 5 : i64, activation_group = 64 : i64} : tensor<?x32xf32>, tensor<?x2xi32>, !sala.weights<[320, 32], f32, #sala.encoding<int4, 32>> -> tensor<?x128xf32>
  return
}
// -----
// REFUSE: 127 columns are not those of 2 experts
func.func @f(%x: tensor<?x127xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>, %down: !sala.weights<[320, 24], f32>) {
  %y = sala.expert_down %x, %ids, %gates, %down {count = 5 : i64} : tensor<?x127xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], f32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: an expert has 80 columns in x
func.func @f(%x: tensor<?x128xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>, %down: !sala.weights<[320, 80], f32>) {
  %y = sala.expert_down %x, %ids, %gates, %down {count = 5 : i64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 80], f32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: gates must have 2 columns, not 3
func.func @f(%x: tensor<?x128xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x3xf32>, %down: !sala.weights<[320, 24], f32>) {
  %y = sala.expert_down %x, %ids, %gates, %down {count = 5 : i64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x3xf32>, !sala.weights<[320, 24], f32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: weight must have shape [640, 24], not [320, 24]
func.func @f(%x: tensor<?x128xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>, %down: !sala.weights<[320, 24], f32>) {
  %y = sala.expert_down %x, %ids, %gates, %down {count = 5 : i64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], f32> -> tensor<?x72xf32>
  return
}
// -----
// REFUSE: experts and expert_rows come together
func.func @f() {
  %up = sala.weight @mlp.experts.up.weight {experts = 5 : i64} : !sala.weights<[320, 32], f32>
  return
}
// -----
// REFUSE: the name of a stack has .experts. in it
func.func @f() {
  %up = sala.weight @mlp.up.weight {experts = 5 : i64, expert_rows = 64 : i64} : !sala.weights<[320, 32], f32>
  return
}
// -----
// REFUSE: 5 experts of 65 rows are 640 rows of a matrix, not [325, 32]
func.func @f() {
  %up = sala.weight @mlp.experts.up.weight {experts = 5 : i64, expert_rows = 65 : i64} : !sala.weights<[325, 32], f32>
  return
}
// -----
// REFUSE: 48 rows are no whole periods of 13
func.func @f(%w: !sala.weights<[48, 4], f32>) {
  %rows = sala.slice_weight %w {start = 3 : i64, size = 2 : i64, period = 13 : i64} : !sala.weights<[48, 4], f32> -> !sala.weights<[6, 4], f32>
  return
}
// -----
// REFUSE: rows 11 .. 13 lie outside 0 .. 12
func.func @f(%w: !sala.weights<[48, 4], f32>) {
  %rows = sala.slice_weight %w {start = 11 : i64, size = 2 : i64, period = 12 : i64} : !sala.weights<[48, 4], f32> -> !sala.weights<[8, 4], f32>
  return
}
// -----
// REFUSE: nothing is added to integers
func.func @f(%w: !sala.weights<[48, 32], f32, #sala.encoding<int4, 32>>) {
  %more = sala.offset_weight %w {offset = 1.000000e+00 : f64} : !sala.weights<[48, 32], f32, #sala.encoding<int4, 32>> -> !sala.weights<[48, 32], f32, #sala.encoding<int4, 32>>
  return
}
