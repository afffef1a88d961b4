// run: fuse-swiglu
func.func @step(%x: tensor<?x8xf32>, %z: tensor<?x8xf32>, %a: !sala.weights<[20, 8], f32>, %c: !sala.weights<[20], f32>) -> (tensor<?x20xf32>, tensor<?x20xf32>, tensor<?x20xf32>, tensor<?x20xf32>) {
  %g1 = sala.linear %x, %a : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %u1 = sala.linear %z, %a : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %other_input = sala.swiglu %g1, %u1 : tensor<?x20xf32>, tensor<?x20xf32> -> tensor<?x20xf32>
  %g2 = sala.linear %x, %a bias(%c : !sala.weights<[20], f32>) : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %u2 = sala.linear %x, %a : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %one_bias = sala.swiglu %g2, %u2 : tensor<?x20xf32>, tensor<?x20xf32> -> tensor<?x20xf32>
  %g3 = sala.linear %x, %a {scale = 2.0 : f64} : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %u3 = sala.linear %x, %a : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %scaled = sala.swiglu %g3, %u3 : tensor<?x20xf32>, tensor<?x20xf32> -> tensor<?x20xf32>
  %g4 = sala.linear %x, %a : tensor<?x8xf32>, !sala.weights<[20, 8], f32> -> tensor<?x20xf32>
  %shared = sala.swiglu %g4, %g4 : tensor<?x20xf32>, tensor<?x20xf32> -> tensor<?x20xf32>
  func.return %other_input, %one_bias, %scaled, %shared : tensor<?x20xf32>, tensor<?x20xf32>, tensor<?x20xf32>, tensor<?x20xf32>
}
