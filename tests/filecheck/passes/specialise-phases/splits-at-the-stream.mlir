// run: specialise-phases
func.func @step(%tokens: tensor<?xi32> {sala.name = "tokens"}, %rows: tensor<?xi32> {sala.name = "logit_rows"}, %state: !sala.recurrent_state<2, 4, 4, f32> {sala.name = "layers.0.recurrent_state"}) -> (tensor<?x5xf32, #sala<rows logit_rows>>, !sala.recurrent_state<2, 4, 4, f32>) {
  %e = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %h = sala.embedding %tokens, %e : !sala.weights<[5, 8], f32> -> tensor<?x8xf32>
  %n = sala.weight @norm : !sala.weights<[8], f32>
  %x = sala.rms_norm %h, %n rows(%rows) {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32, #sala<rows logit_rows>>
  %y = sala.linear %x, %e : tensor<?x8xf32, #sala<rows logit_rows>>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y, %state : tensor<?x5xf32, #sala<rows logit_rows>>, !sala.recurrent_state<2, 4, 4, f32>
}
// -----
func.func @prefill(%tokens: tensor<?xi32> {sala.name = "tokens"}, %state: !sala.recurrent_state<2, 4, 4, f32> {sala.name = "layers.0.recurrent_state"}) -> (tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>) {
  %e = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %h = sala.embedding %tokens, %e : !sala.weights<[5, 8], f32> -> tensor<?x8xf32>
  func.return %h, %state : tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>
}
func.func @decode(%tokens: tensor<?xi32> {sala.name = "tokens"}, %state: !sala.recurrent_state<2, 4, 4, f32> {sala.name = "layers.0.recurrent_state"}) -> (tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>) {
  %e = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %h = sala.embedding %tokens, %e : !sala.weights<[5, 8], f32> -> tensor<?x8xf32>
  func.return %h, %state : tensor<?x8xf32>, !sala.recurrent_state<2, 4, 4, f32>
}
func.func @logits(%h: tensor<?x8xf32> {sala.name = "hidden"}, %rows: tensor<?xi32> {sala.name = "logit_rows"}) -> tensor<?x5xf32, #sala<rows logit_rows>> {
  %e = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %n = sala.weight @norm : !sala.weights<[8], f32>
  %x = sala.rms_norm %h, %n rows(%rows) {eps = 1.0e-6 : f64} : tensor<?x8xf32>, !sala.weights<[8], f32> -> tensor<?x8xf32, #sala<rows logit_rows>>
  %y = sala.linear %x, %e : tensor<?x8xf32, #sala<rows logit_rows>>, !sala.weights<[5, 8], f32> -> tensor<?x5xf32, #sala<rows logit_rows>>
  func.return %y : tensor<?x5xf32, #sala<rows logit_rows>>
}
