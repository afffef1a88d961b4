func.func @mean(%x: tensor<?x48xf32>, %open: !sala.open_pool<3, 48, f32>, %batch: !sala.batch) -> (tensor<?x48xf32>, !sala.open_pool<3, 48, f32>) {
  %out, %state = sala.pool_tokens %x, %open, %batch {layer = 0 : i64, pool = 4 : i64} : tensor<?x48xf32>, !sala.open_pool<3, 48, f32> -> tensor<?x48xf32>, !sala.open_pool<3, 48, f32>
  return %out, %state : tensor<?x48xf32>, !sala.open_pool<3, 48, f32>
}
// -----
func.func @gated(%x: tensor<?x48xf32>, %open: !sala.open_pool<7, 96, f32>, %batch: !sala.batch, %gate: tensor<?x48xf32>, %place: !sala.weights<[8, 48], f32>) -> (tensor<?x48xf32>, !sala.open_pool<7, 96, f32>) {
  %out, %state = sala.pool_tokens %x, %open, %batch gate(%gate : tensor<?x48xf32>) place(%place : !sala.weights<[8, 48], f32>) {layer = 0 : i64, pool = 8 : i64} : tensor<?x48xf32>, !sala.open_pool<7, 96, f32> -> tensor<?x48xf32>, !sala.open_pool<7, 96, f32>
  return %out, %state : tensor<?x48xf32>, !sala.open_pool<7, 96, f32>
}
