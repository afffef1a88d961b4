// run: specialise-phases
func.func @other(%tokens: tensor<?xi32> {sala.name = "tokens"}) -> tensor<?x8xf32> {
  %e = sala.weight @embedding : !sala.weights<[5, 8], f32>
  %h = sala.embedding %tokens, %e : !sala.weights<[5, 8], f32> -> tensor<?x8xf32>
  func.return %h : tensor<?x8xf32>
}
