// REFUSE: pool must be at least 2, not 1
func.func @single(%x: tensor<?x48xf32>, %open: !sala.open_pool<3, 48, f32>, %batch: !sala.batch) -> (tensor<?x48xf32>, !sala.open_pool<3, 48, f32>) {
  %out, %state = sala.pool_tokens %x, %open, %batch {layer = 0 : i64, pool = 1 : i64} : tensor<?x48xf32>, !sala.open_pool<3, 48, f32> -> tensor<?x48xf32>, !sala.open_pool<3, 48, f32>
  return %out, %state : tensor<?x48xf32>, !sala.open_pool<3, 48, f32>
}
// -----
// REFUSE: gate and place are given together or not at all
func.func @half(%x: tensor<?x48xf32>, %open: !sala.open_pool<7, 96, f32>, %batch: !sala.batch, %gate: tensor<?x48xf32>) -> (tensor<?x48xf32>, !sala.open_pool<7, 96, f32>) {
  %out, %state = sala.pool_tokens %x, %open, %batch gate(%gate : tensor<?x48xf32>) {layer = 0 : i64, pool = 8 : i64} : tensor<?x48xf32>, !sala.open_pool<7, 96, f32> -> tensor<?x48xf32>, !sala.open_pool<7, 96, f32>
  return %out, %state : tensor<?x48xf32>, !sala.open_pool<7, 96, f32>
}
// -----
// REFUSE: place must have shape [8, 48], not [7, 48]
func.func @places(%x: tensor<?x48xf32>, %open: !sala.open_pool<7, 96, f32>, %batch: !sala.batch, %gate: tensor<?x48xf32>, %place: !sala.weights<[7, 48], f32>) -> (tensor<?x48xf32>, !sala.open_pool<7, 96, f32>) {
  %out, %state = sala.pool_tokens %x, %open, %batch gate(%gate : tensor<?x48xf32>) place(%place : !sala.weights<[7, 48], f32>) {layer = 0 : i64, pool = 8 : i64} : tensor<?x48xf32>, !sala.open_pool<7, 96, f32> -> tensor<?x48xf32>, !sala.open_pool<7, 96, f32>
  return %out, %state : tensor<?x48xf32>, !sala.open_pool<7, 96, f32>
}
// -----
// REFUSE: does not fit the pools
func.func @state(%x: tensor<?x48xf32>, %open: !sala.open_pool<7, 48, f32>, %batch: !sala.batch, %gate: tensor<?x48xf32>, %place: !sala.weights<[8, 48], f32>) -> (tensor<?x48xf32>, !sala.open_pool<7, 48, f32>) {
  %out, %state = sala.pool_tokens %x, %open, %batch gate(%gate : tensor<?x48xf32>) place(%place : !sala.weights<[8, 48], f32>) {layer = 0 : i64, pool = 8 : i64} : tensor<?x48xf32>, !sala.open_pool<7, 48, f32> -> tensor<?x48xf32>, !sala.open_pool<7, 48, f32>
  return %out, %state : tensor<?x48xf32>, !sala.open_pool<7, 48, f32>
}
// -----
// REFUSE: there must be 48 columns, not 40
func.func @columns(%x: tensor<?x48xf32>, %open: !sala.open_pool<3, 48, f32>, %batch: !sala.batch) -> (tensor<?x40xf32>, !sala.open_pool<3, 48, f32>) {
  %out, %state = sala.pool_tokens %x, %open, %batch {layer = 0 : i64, pool = 4 : i64} : tensor<?x48xf32>, !sala.open_pool<3, 48, f32> -> tensor<?x40xf32>, !sala.open_pool<3, 48, f32>
  return %out, %state : tensor<?x40xf32>, !sala.open_pool<3, 48, f32>
}
