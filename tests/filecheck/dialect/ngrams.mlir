func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[240, 8], bf16>, %window: !sala.token_window<2, f32>, %batch: !sala.batch) -> (tensor<?x32xbf16>, !sala.token_window<2, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[9223372036854775807, 3, 5]> : tensor<3xi64>, sizes = dense<[53, 59, 61, 67]> : tensor<4xi64>, end = 2 : i64} : !sala.weights<[240, 8], bf16>, !sala.token_window<2, f32> -> tensor<?x32xbf16>, !sala.token_window<2, f32>
  return %out, %window_1 : tensor<?x32xbf16>, !sala.token_window<2, f32>
}
// -----
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[53, 16], bf16>, %window: !sala.token_window<1, f32>, %batch: !sala.batch) -> (tensor<?x16xbf16>, !sala.token_window<1, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[7, 9]> : tensor<2xi64>, sizes = dense<53> : tensor<1xi64>, end = 2 : i64} : !sala.weights<[53, 16], bf16>, !sala.token_window<1, f32> -> tensor<?x16xbf16>, !sala.token_window<1, f32>
  return %out, %window_1 : tensor<?x16xbf16>, !sala.token_window<1, f32>
}
// -----
func.func @scores(%key: tensor<?x64xf32>, %query: tensor<?x64xf32>) -> tensor<?x4xf32> {
  %y = sala.score_streams %key, %query {layer = 0 : i64, streams = 4 : i64, scale = 2.500000e-01 : f64, least = 1.000000e-06 : f64} : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
// -----
func.func @scores(%key: tensor<?x64xf32>, %query: tensor<?x64xf32>) -> tensor<?x4xf32> {
  %y = sala.score_streams %key, %query {layer = 0 : i64, streams = 4 : i64, scale = 2.500000e-01 : f64} : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
