// run: fold-scales
func.func @step(%x: tensor<?x32xf32>, %inner: tensor<?x128xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>) -> tensor<?x32xf32> {
  %down = sala.weight @mlp.experts.down.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 32 : i64} : !sala.weights<[320, 24], f32>
  %y = sala.expert_down %inner, %ids, %gates, %down {layer = 0 : i64, count = 5 : i64, scale = 3.0 : f64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], f32> -> tensor<?x32xf32>
  %z = sala.residual_add %x, %y {layer = 0 : i64, scale = 0.5 : f64} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  func.return %z : tensor<?x32xf32>
}
// -----
func.func @step(%x: tensor<?x32xf32>, %inner: tensor<?x128xf32>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>) -> tensor<?x32xf32> {
  %down = sala.weight @mlp.experts.down.weight {layer = 0 : i64, experts = 5 : i64, expert_rows = 32 : i64} : !sala.weights<[320, 24], f32>
  %y = sala.expert_down %inner, %ids, %gates, %down {layer = 0 : i64, count = 5 : i64, scale = 1.500000e+00 : f64} : tensor<?x128xf32>, tensor<?x2xi32>, tensor<?x2xf32>, !sala.weights<[320, 24], f32> -> tensor<?x32xf32>
  %z = sala.residual_add %x, %y {layer = 0 : i64} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  func.return %z : tensor<?x32xf32>
}
