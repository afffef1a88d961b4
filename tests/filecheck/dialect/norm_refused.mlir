// REFUSE: group 24 does not divide 64 columns
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weight<[24], f32>) {
  %y = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64, group = 24 : i64} : tensor<?x64xf32>, !sala.weight<[24], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: group must be positive
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weight<[64], f32>) {
  %y = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64, group = 0 : i64} : tensor<?x64xf32>, !sala.weight<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: weight must have shape [16], not [64]
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weight<[64], f32>) {
  %y = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64, group = 16 : i64} : tensor<?x64xf32>, !sala.weight<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: result must have 64 columns, not 32
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weight<[64], f32>) {
  %y = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64, group = 64 : i64} : tensor<?x64xf32>, !sala.weight<[64], f32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: eps must not be negative
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weight<[64], f32>) {
  %y = sala.rms_norm %x, %w {eps = -1.000000e-06 : f64, group = 64 : i64} : tensor<?x64xf32>, !sala.weight<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: eps
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weight<[64], f32>) {
  %y = sala.rms_norm %x, %w {group = 64 : i64} : tensor<?x64xf32>, !sala.weight<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: gate must have 64 columns, not 63
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weight<[64], f32>, %gate: tensor<?x63xf32>) {
  %y = sala.rms_norm %x, %w gate(%gate : tensor<?x63xf32>) {eps = 1.000000e-06 : f64, group = 64 : i64} : tensor<?x64xf32>, !sala.weight<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: a norm of chosen rows has no gate
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weight<[64], f32>, %gate: tensor<?x64xf32>, %rows: tensor<?xi32>) {
  %y = sala.rms_norm %x, %w rows(%rows) gate(%gate : tensor<?x64xf32>) {eps = 1.000000e-06 : f64, group = 64 : i64} : tensor<?x64xf32>, !sala.weight<[64], f32> -> tensor<?x64xf32>
  return
}
