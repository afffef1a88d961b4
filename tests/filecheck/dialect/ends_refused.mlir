// REFUSE: result must have 32 columns, not 31
func.func @f(%tokens: tensor<?xi32>, %w: !sala.weights<[100, 32], f32>) {
  %h = sala.embedding %tokens, %w : !sala.weights<[100, 32], f32> -> tensor<?x31xf32>
  return
}
// -----
// REFUSE: embedding weight must be a matrix
func.func @f(%tokens: tensor<?xi32>, %w: !sala.weights<[100], f32>) {
  %h = sala.embedding %tokens, %w : !sala.weights<[100], f32> -> tensor<?x100xf32>
  return
}
// -----
// REFUSE: type
func.func @f(%tokens: tensor<?xi64>, %w: !sala.weights<[100, 32], f32>) {
  %h = sala.embedding %tokens, %w : !sala.weights<[100, 32], f32> -> tensor<?x32xf32>
  return
}
// -----
// REFUSE: f64
func.func @f(%tokens: tensor<?xi32>, %w: !sala.weights<[100, 32], f32>) {
  %h = sala.embedding %tokens, %w : !sala.weights<[100, 32], f32> -> tensor<?x32xf64>
  return
}
// -----
// REFUSE: weight must have shape [99, 32], not [100, 32]
func.func @f(%h: tensor<?x32xf32>, %rows: tensor<?xi32>, %w: !sala.weights<[100, 32], f32>) {
  %l = sala.logits %h, %rows, %w : tensor<?x32xf32>, !sala.weights<[100, 32], f32> -> tensor<?x99xf32, #sala<rows logit_rows>>
  return
}
// -----
// REFUSE: expected an activation tensor<?xCxE>
func.func @f(%h: tensor<?x32x2xf32>, %rows: tensor<?xi32>, %w: !sala.weights<[100, 32], f32>) {
  %l = sala.logits %h, %rows, %w : tensor<?x32x2xf32>, !sala.weights<[100, 32], f32> -> tensor<?x100xf32, #sala<rows logit_rows>>
  return
}
