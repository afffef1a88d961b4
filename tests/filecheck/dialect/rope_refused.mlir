// REFUSE: head_dim must be even, not 15
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {theta = 1.000000e+04 : f64, head_dim = 15 : i64} -> tensor<?x15xf32>
  return
}
// -----
// REFUSE: theta must be positive
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {theta = 0.000000e+00 : f64, head_dim = 16 : i64} -> tensor<?x16xf32>
  return
}
// -----
// REFUSE: result must be tensor<?x16xf32>
func.func @f(%batch: !sala.batch) {
  %table = sala.rope_table %batch {theta = 1.000000e+04 : f64, head_dim = 16 : i64} -> tensor<?x16xbf16>
  return
}
// -----
// REFUSE: head_dim 16 does not divide 60 columns
func.func @f(%x: tensor<?x60xf32>, %table: tensor<?x16xf32>) {
  %y = sala.rope %x, %table {head_dim = 16 : i64} : tensor<?x60xf32>, tensor<?x16xf32> -> tensor<?x60xf32>
  return
}
// -----
// REFUSE: table must have 16 columns, not 8
func.func @f(%x: tensor<?x64xf32>, %table: tensor<?x8xf32>) {
  %y = sala.rope %x, %table {head_dim = 16 : i64} : tensor<?x64xf32>, tensor<?x8xf32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: result must have 64 columns, not 48
func.func @f(%x: tensor<?x64xf32>, %table: tensor<?x16xf32>) {
  %y = sala.rope %x, %table {head_dim = 16 : i64} : tensor<?x64xf32>, tensor<?x16xf32> -> tensor<?x48xf32>
  return
}
