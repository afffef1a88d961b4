// Batch, embedding and logits: the two ends of the model.
func.func @ends(%tokens: tensor<?xi32>, %offsets: tensor<?xi32>, %history: tensor<?xi32>, %call_lengths: tensor<?xi32>, %slots: tensor<?xi32>, %page_table: tensor<?x?xi32>, %compressed_table: tensor<?x?xi32>, %rows: tensor<?xi32>, %w: !sala.weights<[100, 32], f32>) {
  %batch = sala.make_batch %offsets, %history, %call_lengths, %slots tables(%page_table, %compressed_table : tensor<?x?xi32>, tensor<?x?xi32>) : tensor<?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
  %dense = sala.make_batch %offsets, %history, %call_lengths, %slots : tensor<?xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
  %h = sala.embedding %tokens, %w {scale = 1.200000e+01 : f64} : !sala.weights<[100, 32], f32> -> tensor<?x32xbf16>
  %unscaled = sala.embedding %tokens, %w : !sala.weights<[100, 32], f32> -> tensor<?x32xf32>
  %logits = sala.logits %h, %rows, %w {scale = 6.250000e-02 : f64} : tensor<?x32xbf16>, !sala.weights<[100, 32], f32> -> tensor<?x100xf32, #sala<rows logit_rows>>
  return
}
