// REFUSE: 3 streams do not divide 256 columns
func.func @connected(%f: tensor<?x24xf32>, %x: tensor<?x256xf32>, %base: !sala.weights<[24], f32>, %scale: !sala.weights<[3], f32>) -> tensor<?x24xf32> {
  %out = sala.connect_streams %f, %x, %base, %scale {layer = 0 : i64, streams = 3 : i64, iterations = 20 : i64, eps = 1.000000e-06 : f64, norm_eps = 1.000000e-05 : f64} : (tensor<?x24xf32>, tensor<?x256xf32>, !sala.weights<[24], f32>, !sala.weights<[3], f32>) -> tensor<?x24xf32>
  return %out : tensor<?x24xf32>
}
// -----
// REFUSE: logits must have 24 columns, not 20
func.func @connected(%f: tensor<?x20xf32>, %x: tensor<?x256xf32>, %base: !sala.weights<[24], f32>, %scale: !sala.weights<[3], f32>) -> tensor<?x24xf32> {
  %out = sala.connect_streams %f, %x, %base, %scale {layer = 0 : i64, streams = 4 : i64, iterations = 20 : i64, eps = 1.000000e-06 : f64, norm_eps = 1.000000e-05 : f64} : (tensor<?x20xf32>, tensor<?x256xf32>, !sala.weights<[24], f32>, !sala.weights<[3], f32>) -> tensor<?x24xf32>
  return %out : tensor<?x24xf32>
}
// -----
// REFUSE: result must have 24 columns, not 16
func.func @connected(%f: tensor<?x24xf32>, %x: tensor<?x256xf32>, %base: !sala.weights<[24], f32>, %scale: !sala.weights<[3], f32>) -> tensor<?x16xf32> {
  %out = sala.connect_streams %f, %x, %base, %scale {layer = 0 : i64, streams = 4 : i64, iterations = 20 : i64, eps = 1.000000e-06 : f64, norm_eps = 1.000000e-05 : f64} : (tensor<?x24xf32>, tensor<?x256xf32>, !sala.weights<[24], f32>, !sala.weights<[3], f32>) -> tensor<?x16xf32>
  return %out : tensor<?x16xf32>
}
// -----
// REFUSE: base must have shape [24], not [16]
func.func @connected(%f: tensor<?x24xf32>, %x: tensor<?x256xf32>, %base: !sala.weights<[16], f32>, %scale: !sala.weights<[3], f32>) -> tensor<?x24xf32> {
  %out = sala.connect_streams %f, %x, %base, %scale {layer = 0 : i64, streams = 4 : i64, iterations = 20 : i64, eps = 1.000000e-06 : f64, norm_eps = 1.000000e-05 : f64} : (tensor<?x24xf32>, tensor<?x256xf32>, !sala.weights<[16], f32>, !sala.weights<[3], f32>) -> tensor<?x24xf32>
  return %out : tensor<?x24xf32>
}
// -----
// REFUSE: scale must have shape [3], not [4]
func.func @connected(%f: tensor<?x24xf32>, %x: tensor<?x256xf32>, %base: !sala.weights<[24], f32>, %scale: !sala.weights<[4], f32>) -> tensor<?x24xf32> {
  %out = sala.connect_streams %f, %x, %base, %scale {layer = 0 : i64, streams = 4 : i64, iterations = 20 : i64, eps = 1.000000e-06 : f64, norm_eps = 1.000000e-05 : f64} : (tensor<?x24xf32>, tensor<?x256xf32>, !sala.weights<[24], f32>, !sala.weights<[4], f32>) -> tensor<?x24xf32>
  return %out : tensor<?x24xf32>
}
// -----
// REFUSE: iterations must be at least 1
func.func @connected(%f: tensor<?x24xf32>, %x: tensor<?x256xf32>, %base: !sala.weights<[24], f32>, %scale: !sala.weights<[3], f32>) -> tensor<?x24xf32> {
  %out = sala.connect_streams %f, %x, %base, %scale {layer = 0 : i64, streams = 4 : i64, iterations = 0 : i64, eps = 1.000000e-06 : f64, norm_eps = 1.000000e-05 : f64} : (tensor<?x24xf32>, tensor<?x256xf32>, !sala.weights<[24], f32>, !sala.weights<[3], f32>) -> tensor<?x24xf32>
  return %out : tensor<?x24xf32>
}
// -----
// REFUSE: eps and norm_eps must not be negative
func.func @connected(%f: tensor<?x24xf32>, %x: tensor<?x256xf32>, %base: !sala.weights<[24], f32>, %scale: !sala.weights<[3], f32>) -> tensor<?x24xf32> {
  %out = sala.connect_streams %f, %x, %base, %scale {layer = 0 : i64, streams = 4 : i64, iterations = 20 : i64, eps = -1.000000e-06 : f64, norm_eps = 1.000000e-05 : f64} : (tensor<?x24xf32>, tensor<?x256xf32>, !sala.weights<[24], f32>, !sala.weights<[3], f32>) -> tensor<?x24xf32>
  return %out : tensor<?x24xf32>
}
// -----
// REFUSE: 0 streams do not divide 256 columns
func.func @joined(%x: tensor<?x256xf32>, %shares: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %out = sala.join_streams %x shares(%shares : tensor<?x4xf32>) {layer = 0 : i64, streams = 0 : i64} : tensor<?x256xf32> -> tensor<?x64xf32>
  return %out : tensor<?x64xf32>
}
// -----
// REFUSE: shares must have 4 columns, not 3
func.func @joined(%x: tensor<?x256xf32>, %shares: tensor<?x3xf32>) -> tensor<?x64xf32> {
  %out = sala.join_streams %x shares(%shares : tensor<?x3xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x256xf32> -> tensor<?x64xf32>
  return %out : tensor<?x64xf32>
}
// -----
// REFUSE: result must have 64 columns, not 32
func.func @joined(%x: tensor<?x256xf32>, %shares: tensor<?x4xf32>) -> tensor<?x32xf32> {
  %out = sala.join_streams %x shares(%shares : tensor<?x4xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x256xf32> -> tensor<?x32xf32>
  return %out : tensor<?x32xf32>
}
// -----
// REFUSE: result must have 192 columns, not 195
func.func @spread(%y: tensor<?x64xf32>, %x: tensor<?x256xf32>, %gains: tensor<?x4xf32>, %mix: tensor<?x16xf32>) -> tensor<?x195xf32> {
  %out = sala.spread_streams %y streams(%x : tensor<?x256xf32>) gains(%gains : tensor<?x4xf32>) mix(%mix : tensor<?x16xf32>) {layer = 0 : i64, streams = 3 : i64} : tensor<?x64xf32> -> tensor<?x195xf32>
  return %out : tensor<?x195xf32>
}
// -----
// REFUSE: streams must have 256 columns, not 192
func.func @spread(%y: tensor<?x64xf32>, %x: tensor<?x192xf32>, %gains: tensor<?x4xf32>, %mix: tensor<?x16xf32>) -> tensor<?x256xf32> {
  %out = sala.spread_streams %y streams(%x : tensor<?x192xf32>) gains(%gains : tensor<?x4xf32>) mix(%mix : tensor<?x16xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x64xf32> -> tensor<?x256xf32>
  return %out : tensor<?x256xf32>
}
// -----
// REFUSE: gains must have 4 columns, not 5
func.func @spread(%y: tensor<?x64xf32>, %x: tensor<?x256xf32>, %gains: tensor<?x5xf32>, %mix: tensor<?x16xf32>) -> tensor<?x256xf32> {
  %out = sala.spread_streams %y streams(%x : tensor<?x256xf32>) gains(%gains : tensor<?x5xf32>) mix(%mix : tensor<?x16xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x64xf32> -> tensor<?x256xf32>
  return %out : tensor<?x256xf32>
}
// -----
// REFUSE: mix must have 16 columns, not 4
func.func @spread(%y: tensor<?x64xf32>, %x: tensor<?x256xf32>, %gains: tensor<?x4xf32>, %mix: tensor<?x4xf32>) -> tensor<?x256xf32> {
  %out = sala.spread_streams %y streams(%x : tensor<?x256xf32>) gains(%gains : tensor<?x4xf32>) mix(%mix : tensor<?x4xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x64xf32> -> tensor<?x256xf32>
  return %out : tensor<?x256xf32>
}
// -----
// REFUSE: a mix needs streams
func.func @spread(%y: tensor<?x64xf32>, %x: tensor<?x256xf32>, %gains: tensor<?x4xf32>, %mix: tensor<?x16xf32>) -> tensor<?x256xf32> {
  %out = sala.spread_streams %y gains(%gains : tensor<?x4xf32>) mix(%mix : tensor<?x16xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x64xf32> -> tensor<?x256xf32>
  return %out : tensor<?x256xf32>
}
