// REFUSE: log_offset must be 0 or above 1, not 0.5
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0, 0.0]]> : tensor<1x2xf32>, log_offset = 0.5 : f64} -> tensor<?x4xf32>
  return
}
// -----
// REFUSE: frequencies must not be negative
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0, -0.5]]> : tensor<1x2xf32>} -> tensor<?x4xf32>
  return
}
// -----
// REFUSE: frequencies must be f32
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0, 0.5]]> : tensor<1x2xf64>} -> tensor<?x4xf32>
  return
}
// -----
// REFUSE: frequencies must be tensor<PxHxf32>
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[1.0, 0.5]> : tensor<2xf32>} -> tensor<?x4xf32>
  return
}
// -----
// REFUSE: 2 rows of frequencies need as many starts
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0], [0.5]]> : tensor<2x1xf32>} -> tensor<?x2xf32>
  return
}
// -----
// REFUSE: starts must ascend from 0, not [0, 0]
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0], [0.5]]> : tensor<2x1xf32>, starts = dense<[0, 0]> : tensor<2xi64>} -> tensor<?x2xf32>
  return
}
// -----
// REFUSE: starts must ascend from 0, not [3]
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0]]> : tensor<1x1xf32>, starts = dense<[3]> : tensor<1xi64>} -> tensor<?x2xf32>
  return
}
// -----
// REFUSE: factor must be positive
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {factor = 0.0 : f64, frequencies = dense<[[1.0]]> : tensor<1x1xf32>} -> tensor<?x2xf32>
  return
}
// -----
// REFUSE: result must be tensor<?x4xf32>
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0, 0.5]]> : tensor<1x2xf32>} -> tensor<?x4xbf16>
  return
}
// -----
// REFUSE: head_dim 16 does not divide 60 columns
func.func @f(%x: tensor<?x60xf32>, %table: tensor<?x16xf32>) {
  %y = sala.rope %x, %table {head_dim = 16 : i64} : tensor<?x60xf32>, tensor<?x16xf32> -> tensor<?x60xf32>
  return
}
// -----
// REFUSE: table must have 2 to 16 columns, not 18
func.func @f(%x: tensor<?x64xf32>, %table: tensor<?x18xf32>) {
  %y = sala.rope %x, %table {head_dim = 16 : i64} : tensor<?x64xf32>, tensor<?x18xf32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: table must have an even number of columns, not 15
func.func @f(%x: tensor<?x64xf32>, %table: tensor<?x15xf32>) {
  %y = sala.rope %x, %table {head_dim = 16 : i64} : tensor<?x64xf32>, tensor<?x15xf32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: there must be 64 columns, not 48
func.func @f(%x: tensor<?x64xf32>, %table: tensor<?x16xf32>) {
  %y = sala.rope %x, %table {head_dim = 16 : i64} : tensor<?x64xf32>, tensor<?x16xf32> -> tensor<?x48xf32>
  return
}
// -----
// REFUSE: norm and eps come together
func.func @f(%x: tensor<?x64xf32>, %table: tensor<?x16xf32>, %w: !sala.weights<[16], f32>) {
  %y = sala.rope %x, %table norm(%w : !sala.weights<[16], f32>) {head_dim = 16 : i64} : tensor<?x64xf32>, tensor<?x16xf32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: norm must have shape [16], not [64]
func.func @f(%x: tensor<?x64xf32>, %table: tensor<?x16xf32>, %w: !sala.weights<[64], f32>) {
  %y = sala.rope %x, %table norm(%w : !sala.weights<[64], f32>) {head_dim = 16 : i64, eps = 1.0e-6 : f64} : tensor<?x64xf32>, tensor<?x16xf32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: dimensions 9 .. 17 lie outside 0 .. 16
func.func @neighbours(%x: tensor<?x48xf32>, %table: tensor<?x8xf32>) -> tensor<?x48xf32> {
  %y = sala.rope %x, %table {head_dim = 16 : i64, start = 9 : i64, interleaved = 1 : i64} : tensor<?x48xf32>, tensor<?x8xf32> -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
// -----
// REFUSE: interleaved must be 0 or 1
func.func @neighbours(%x: tensor<?x48xf32>, %table: tensor<?x8xf32>) -> tensor<?x48xf32> {
  %y = sala.rope %x, %table {head_dim = 16 : i64, start = 8 : i64, interleaved = 2 : i64} : tensor<?x48xf32>, tensor<?x8xf32> -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
// -----
// REFUSE: position_offset must not be above 0, not 7
func.func @later(%batch: !sala.batch) -> tensor<?x4xf32> {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0, 0.5]]> : tensor<1x2xf32>, position_offset = 7 : i64} -> tensor<?x4xf32>
  return %table : tensor<?x4xf32>
}
// -----
// REFUSE: position_offset and log_offset exclude each other
func.func @both(%batch: !sala.batch) -> tensor<?x4xf32> {
  %table = sala.rope_table %batch {frequencies = dense<[[1.0, 0.5]]> : tensor<1x2xf32>, log_offset = 50.0 : f64, position_offset = -7 : i64} -> tensor<?x4xf32>
  return %table : tensor<?x4xf32>
}
