// REFUSE: groups of 24 do not divide 64 columns
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[24], f32>) {
  %y = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[24], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: there must be 64 columns, not 32
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>) {
  %y = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: eps must not be negative
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>) {
  %y = sala.rms_norm %x, %w {eps = -1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: eps
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>) {
  %y = sala.rms_norm %x, %w : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: there must be 64 columns, not 63
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>, %gate: tensor<?x63xf32>) {
  %y = sala.rms_norm %x, %w gate(%gate : tensor<?x63xf32>) {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: the rows of result must be logit_rows, not tokens
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>, %rows: tensor<?xi32>) {
  %y = sala.rms_norm %x, %w rows(%rows) {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: 5 groups do not divide a weight of 64
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>) {
  %y = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64, groups = 5 : i64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: 0 groups do not divide a weight of 64
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>) {
  %y = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64, groups = 0 : i64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: weight must have shape [64], not [16]
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[16], f32>, %b: !sala.weights<[64], f32>) {
  %y = sala.layer_norm %x, %w, %b {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[16], f32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: bias must have shape [64], not [32]
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>, %b: !sala.weights<[32], f32>) {
  %y = sala.layer_norm %x, %w, %b {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32>, !sala.weights<[32], f32> -> tensor<?x64xf32>
  return
}
// -----
// REFUSE: eps must not be negative
func.func @f(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>, %b: !sala.weights<[64], f32>) {
  %y = sala.layer_norm %x, %w, %b {eps = -1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
