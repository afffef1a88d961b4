func.func @rope(%x: tensor<?x64xf32>, %batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[[1.000000e+00, 0.316227764, 1.000000e-01, 0.0316227786]]> : tensor<1x4xf32>} -> tensor<?x8xf32>
  %y = sala.rope %x, %table {layer = 1 : i64, head_dim = 8 : i64} : tensor<?x64xf32>, tensor<?x8xf32> -> tensor<?x64xf32>
  return
}
func.func @rope_of_a_part_by_the_length_of_the_call(%x: tensor<?x64xf32>, %batch: !sala.batch) {
  %table = sala.rope_table %batch {factor = 1.250000e+00 : f64, frequencies = dense<[[1.000000e+00, 5.000000e-01], [5.000000e-01, 2.500000e-01]]> : tensor<2x2xf32>, starts = dense<[0, 257]> : tensor<2xi64>} -> tensor<?x4xf32>
  %y = sala.rope %x, %table {head_dim = 16 : i64} : tensor<?x64xf32>, tensor<?x4xf32> -> tensor<?x64xf32>
  return
}
func.func @rope_of_normalised_heads(%x: tensor<?x64xf32>, %table: tensor<?x8xf32>, %w: !sala.weights<[16], f32>) {
  %y = sala.rope %x, %table norm(%w : !sala.weights<[16], f32>) {head_dim = 16 : i64, eps = 1.000000e-06 : f64} : tensor<?x64xf32>, tensor<?x8xf32> -> tensor<?x64xf32>
  return
}
// -----
func.func @neighbours(%x: tensor<?x48xf32>, %table: tensor<?x8xf32>) -> tensor<?x48xf32> {
  %y = sala.rope %x, %table {head_dim = 16 : i64, start = 8 : i64, interleaved = 1 : i64} : tensor<?x48xf32>, tensor<?x8xf32> -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
// -----
func.func @earlier(%batch: !sala.batch) -> tensor<?x4xf32> {
  %table = sala.rope_table %batch {frequencies = dense<[[1.000000e+00, 5.000000e-01]]> : tensor<1x2xf32>, position_offset = -7 : i64} -> tensor<?x4xf32>
  return %table : tensor<?x4xf32>
}
