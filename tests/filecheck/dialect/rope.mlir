func.func @rope(%x: tensor<?x64xf32>, %batch: !sala.batch) {
  %table = sala.rope_table %batch {theta = 1.000000e+04 : f64, head_dim = 16 : i64} -> tensor<?x16xf32>
  %y = sala.rope %x, %table {layer = 1 : i64, head_dim = 16 : i64} : tensor<?x64xf32>, tensor<?x16xf32> -> tensor<?x64xf32>
  return
}
