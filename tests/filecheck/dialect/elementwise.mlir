func.func @elementwise(%x: tensor<?x32xf32>, %y: tensor<?x32xf32>) {
  %gated = sala.output_gate %x, %y : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xbf16>
  %inner = sala.swiglu %x, %y {layer = 2 : i64} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  %limited = sala.swiglu %x, %y {layer = 2 : i64, limit = 1.000000e+01 : f64} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  %sum = sala.residual_add %x, %inner {scale = 0.24748737341529164 : f64} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  %plain = sala.residual_add %x, %gated : tensor<?x32xf32>, tensor<?x32xbf16> -> tensor<?x32xf32>
  return
}
// -----
func.func @cast(%x: tensor<?x64xf32>) -> tensor<?x64xbf16> {
  %y = sala.cast %x {layer = 0 : i64} : tensor<?x64xf32> -> tensor<?x64xbf16>
  return %y : tensor<?x64xbf16>
}
// -----
func.func @silu(%x: tensor<?x32xf32>) -> tensor<?x32xbf16> {
  %y = sala.silu %x {layer = 2 : i64} : tensor<?x32xf32> -> tensor<?x32xbf16>
  return %y : tensor<?x32xbf16>
}
// -----
func.func @squared_relu(%x: tensor<?x32xf32>) -> tensor<?x32xbf16> {
  %y = sala.squared_relu %x {layer = 2 : i64} : tensor<?x32xf32> -> tensor<?x32xbf16>
  return %y : tensor<?x32xbf16>
}
// -----
func.func @sigmoid(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %y = sala.sigmoid %x {layer = 2 : i64, scale = 2.000000e+00 : f64} : tensor<?x4xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
