func.func @norms(%x: tensor<?x64xf32>, %gate: tensor<?x64xf32>, %w: !sala.weights<[64], f32>, %head: !sala.weights<[16], f32>, %rows: tensor<?xi32>) {
  %all = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  %heads = sala.rms_norm %x, %head {layer = 3 : i64, eps = 1.000000e-05 : f64} : tensor<?x64xf32>, !sala.weights<[16], f32> -> tensor<?x64xf32>
  %some = sala.rms_norm %x, %w rows(%rows) {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xbf16, #sala<rows logit_rows>>
  %gated = sala.rms_norm %x, %head gate(%gate : tensor<?x64xf32>) {eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[16], f32> -> tensor<?x64xbf16>
  %grouped = sala.rms_norm %x, %w {eps = 1.000000e-06 : f64, groups = 4 : i64} : tensor<?x64xf32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return
}
// -----
func.func @layer_norm(%x: tensor<?x64xf32>, %w: !sala.weights<[64], f32>, %b: !sala.weights<[64], f32>) -> tensor<?x64xf32> {
  %y = sala.layer_norm %x, %w, %b {layer = 1 : i64, eps = 1.000000e-06 : f64} : tensor<?x64xf32>, !sala.weights<[64], f32>, !sala.weights<[64], f32> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
