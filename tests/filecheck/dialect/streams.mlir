func.func @connected(%f: tensor<?x24xf32>, %x: tensor<?x256xf32>, %base: !sala.weights<[24], f32>, %scale: !sala.weights<[3], f32>) -> tensor<?x24xf32> {
  %out = sala.connect_streams %f, %x, %base, %scale {layer = 0 : i64, streams = 4 : i64, iterations = 20 : i64, eps = 1.000000e-06 : f64, norm_eps = 1.000000e-05 : f64} : (tensor<?x24xf32>, tensor<?x256xf32>, !sala.weights<[24], f32>, !sala.weights<[3], f32>) -> tensor<?x24xf32>
  return %out : tensor<?x24xf32>
}
// -----
func.func @joined(%x: tensor<?x256xf32>, %shares: tensor<?x4xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %out = sala.join_streams %x shares(%shares : tensor<?x4xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x256xf32> -> tensor<?x64xf32>
  %mean = sala.join_streams %x {streams = 4 : i64} : tensor<?x256xf32> -> tensor<?x64xf32>
  return %out, %mean : tensor<?x64xf32>, tensor<?x64xf32>
}
// -----
func.func @spread(%y: tensor<?x64xf32>, %x: tensor<?x256xf32>, %gains: tensor<?x4xf32>, %mix: tensor<?x16xf32>) -> (tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>) {
  %repeated = sala.spread_streams %y {streams = 4 : i64} : tensor<?x64xf32> -> tensor<?x256xf32>
  %added = sala.spread_streams %y streams(%x : tensor<?x256xf32>) gains(%gains : tensor<?x4xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x64xf32> -> tensor<?x256xf32>
  %mixed = sala.spread_streams %y streams(%x : tensor<?x256xf32>) gains(%gains : tensor<?x4xf32>) mix(%mix : tensor<?x16xf32>) {layer = 0 : i64, streams = 4 : i64} : tensor<?x64xf32> -> tensor<?x256xf32>
  return %repeated, %added, %mixed : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>
}
