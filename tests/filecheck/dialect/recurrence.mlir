func.func @convolution(%x: tensor<?x48xf32>, %window: !sala.convolution_window<3, 48, f32>, %batch: !sala.batch, %taps: !sala.weights<[4, 48], f32>) -> (tensor<?x48xf32>, !sala.convolution_window<3, 48, f32>) {
  %out, %state = sala.short_convolution %x, %window, %batch, %taps {layer = 0 : i64} : tensor<?x48xf32>, !sala.convolution_window<3, 48, f32>, !sala.weights<[4, 48], f32> -> tensor<?x48xf32>, !sala.convolution_window<3, 48, f32>
  return %out, %state : tensor<?x48xf32>, !sala.convolution_window<3, 48, f32>
}
// -----
func.func @biased(%x: tensor<?x48xf32>, %window: !sala.convolution_window<1, 48, f32>, %batch: !sala.batch, %taps: !sala.weights<[2, 48], f32>, %bias: !sala.weights<[48], f32>) -> (tensor<?x48xf32>, !sala.convolution_window<1, 48, f32>) {
  %out, %state = sala.short_convolution %x, %window, %batch, %taps bias(%bias : !sala.weights<[48], f32>) {layer = 0 : i64} : tensor<?x48xf32>, !sala.convolution_window<1, 48, f32>, !sala.weights<[2, 48], f32> -> tensor<?x48xf32>, !sala.convolution_window<1, 48, f32>
  return %out, %state : tensor<?x48xf32>, !sala.convolution_window<1, 48, f32>
}
// -----
func.func @delta(%q: tensor<?x24xf32>, %v: tensor<?x96xf32>, %rate: tensor<?x4xf32>, %state: !sala.recurrent_state<4, 12, 24, f32>, %batch: !sala.batch, %decay: !sala.weights<[4], f32>) -> (tensor<?x96xf32>, !sala.recurrent_state<4, 12, 24, f32>) {
  %out, %state_1 = sala.gated_delta %q, %q, %v, %rate, %rate, %state, %batch, %decay, %decay heads <num_heads = 4, key_heads = 2, key_dim = 12, value_dim = 24, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, rate_scale = 2.000000e+00 : f64} : (tensor<?x24xf32>, tensor<?x24xf32>, tensor<?x96xf32>, tensor<?x4xf32>, tensor<?x4xf32>, !sala.recurrent_state<4, 12, 24, f32>, !sala.batch, !sala.weights<[4], f32>, !sala.weights<[4], f32>) -> (tensor<?x96xf32>, !sala.recurrent_state<4, 12, 24, f32>)
  return %out, %state_1 : tensor<?x96xf32>, !sala.recurrent_state<4, 12, 24, f32>
}
// -----
func.func @transposed(%w: !sala.weights<[48, 4], f32>) -> !sala.weights<[4, 48], f32> {
  %out = sala.transpose_weight %w {layer = 2 : i64} : !sala.weights<[48, 4], f32> -> !sala.weights<[4, 48], f32>
  return %out : !sala.weights<[4, 48], f32>
}
// -----
func.func @space(%q: tensor<?x40xf32>, %v: tensor<?x96xf32>, %dt: tensor<?x6xf32>, %state: !sala.recurrent_state<6, 20, 16, f32>, %batch: !sala.batch, %w: !sala.weights<[6], f32>) -> (tensor<?x96xf32>, !sala.recurrent_state<6, 20, 16, f32>) {
  %out, %state_1 = sala.state_space %q, %q, %v, %dt, %state, %batch, %w, %w, %w heads <num_heads = 6, key_heads = 2, key_dim = 20, value_dim = 16, scale = 1.000000e+00> {layer = 1 : i64, least = 1.250000e-01 : f64} : (tensor<?x40xf32>, tensor<?x40xf32>, tensor<?x96xf32>, tensor<?x6xf32>, !sala.recurrent_state<6, 20, 16, f32>, !sala.batch, !sala.weights<[6], f32>, !sala.weights<[6], f32>, !sala.weights<[6], f32>) -> (tensor<?x96xf32>, !sala.recurrent_state<6, 20, 16, f32>)
  return %out, %state_1 : tensor<?x96xf32>, !sala.recurrent_state<6, 20, 16, f32>
}
// -----
func.func @sliced(%w: !sala.weights<[48, 4], f32>) -> !sala.weights<[10, 4], f32> {
  %out = sala.slice_weight %w {layer = 2 : i64, start = 38 : i64, size = 10 : i64} : !sala.weights<[48, 4], f32> -> !sala.weights<[10, 4], f32>
  return %out : !sala.weights<[10, 4], f32>
}
// -----
func.func @channels(%q: tensor<?x24xf32>, %v: tensor<?x48xf32>, %decay: tensor<?x24xf32>, %rate: tensor<?x2xf32>, %state: !sala.recurrent_state<2, 12, 24, f32>, %batch: !sala.batch, %speed: !sala.weights<[2], f32>, %bias: !sala.weights<[24], f32>) -> (tensor<?x48xf32>, !sala.recurrent_state<2, 12, 24, f32>) {
  %out, %state_1 = sala.gated_delta %q, %q, %v, %decay, %rate, %state, %batch, %speed, %bias heads <num_heads = 2, key_heads = 2, key_dim = 12, value_dim = 24, scale = 2.500000e-01> {layer = 1 : i64, eps = 1.000000e-06 : f64, lower_bound = -5.000000e+00 : f64} : (tensor<?x24xf32>, tensor<?x24xf32>, tensor<?x48xf32>, tensor<?x24xf32>, tensor<?x2xf32>, !sala.recurrent_state<2, 12, 24, f32>, !sala.batch, !sala.weights<[2], f32>, !sala.weights<[24], f32>) -> (tensor<?x48xf32>, !sala.recurrent_state<2, 12, 24, f32>)
  return %out, %state_1 : tensor<?x48xf32>, !sala.recurrent_state<2, 12, 24, f32>
}
// -----
func.func @dilated(%x: tensor<?x48xf32>, %window: !sala.convolution_window<9, 48, f32>, %batch: !sala.batch, %taps: !sala.weights<[4, 48], f32>) -> (tensor<?x48xf32>, !sala.convolution_window<9, 48, f32>) {
  %out, %state = sala.short_convolution %x, %window, %batch, %taps {layer = 0 : i64, dilation = 3 : i64} : tensor<?x48xf32>, !sala.convolution_window<9, 48, f32>, !sala.weights<[4, 48], f32> -> tensor<?x48xf32>, !sala.convolution_window<9, 48, f32>
  return %out, %state : tensor<?x48xf32>, !sala.convolution_window<9, 48, f32>
}
