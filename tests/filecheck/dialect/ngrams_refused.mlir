// REFUSE: there must be at least 2 multipliers, not 1
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[240, 8], bf16>, %window: !sala.token_window<2, f32>, %batch: !sala.batch) -> (tensor<?x32xbf16>, !sala.token_window<2, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<3> : tensor<1xi64>, sizes = dense<[53, 59, 61, 67]> : tensor<4xi64>, end = 2 : i64} : !sala.weights<[240, 8], bf16>, !sala.token_window<2, f32> -> tensor<?x32xbf16>, !sala.token_window<2, f32>
  return %out, %window_1 : tensor<?x32xbf16>, !sala.token_window<2, f32>
}
// -----
// REFUSE: 3 sizes are not as many for each of 2 orders
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[240, 8], bf16>, %window: !sala.token_window<2, f32>, %batch: !sala.batch) -> (tensor<?x24xbf16>, !sala.token_window<2, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[9223372036854775807, 3, 5]> : tensor<3xi64>, sizes = dense<[53, 59, 61]> : tensor<3xi64>, end = 2 : i64} : !sala.weights<[240, 8], bf16>, !sala.token_window<2, f32> -> tensor<?x24xbf16>, !sala.token_window<2, f32>
  return %out, %window_1 : tensor<?x24xbf16>, !sala.token_window<2, f32>
}
// -----
// REFUSE: sizes must be positive
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[240, 8], bf16>, %window: !sala.token_window<2, f32>, %batch: !sala.batch) -> (tensor<?x32xbf16>, !sala.token_window<2, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[9223372036854775807, 3, 5]> : tensor<3xi64>, sizes = dense<[53, 59, 61, 0]> : tensor<4xi64>, end = 2 : i64} : !sala.weights<[240, 8], bf16>, !sala.token_window<2, f32> -> tensor<?x32xbf16>, !sala.token_window<2, f32>
  return %out, %window_1 : tensor<?x32xbf16>, !sala.token_window<2, f32>
}
// -----
// REFUSE: 240 rows do not fit a table of 239
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[239, 8], bf16>, %window: !sala.token_window<2, f32>, %batch: !sala.batch) -> (tensor<?x32xbf16>, !sala.token_window<2, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[9223372036854775807, 3, 5]> : tensor<3xi64>, sizes = dense<[53, 59, 61, 67]> : tensor<4xi64>, end = 2 : i64} : !sala.weights<[239, 8], bf16>, !sala.token_window<2, f32> -> tensor<?x32xbf16>, !sala.token_window<2, f32>
  return %out, %window_1 : tensor<?x32xbf16>, !sala.token_window<2, f32>
}
// -----
// REFUSE: 240 rows do not fit a table of 2147483648, at most 2147483648
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[2147483648, 8], bf16>, %window: !sala.token_window<2, f32>, %batch: !sala.batch) -> (tensor<?x32xbf16>, !sala.token_window<2, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[9223372036854775807, 3, 5]> : tensor<3xi64>, sizes = dense<[53, 59, 61, 67]> : tensor<4xi64>, end = 2 : i64} : !sala.weights<[2147483648, 8], bf16>, !sala.token_window<2, f32> -> tensor<?x32xbf16>, !sala.token_window<2, f32>
  return %out, %window_1 : tensor<?x32xbf16>, !sala.token_window<2, f32>
}
// -----
// REFUSE: table must be a matrix, not [240]
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[240], bf16>, %window: !sala.token_window<2, f32>, %batch: !sala.batch) -> (tensor<?x32xbf16>, !sala.token_window<2, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[9223372036854775807, 3, 5]> : tensor<3xi64>, sizes = dense<[53, 59, 61, 67]> : tensor<4xi64>, end = 2 : i64} : !sala.weights<[240], bf16>, !sala.token_window<2, f32> -> tensor<?x32xbf16>, !sala.token_window<2, f32>
  return %out, %window_1 : tensor<?x32xbf16>, !sala.token_window<2, f32>
}
// -----
// REFUSE: out must have 32 columns, not 16
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[240, 8], bf16>, %window: !sala.token_window<2, f32>, %batch: !sala.batch) -> (tensor<?x16xbf16>, !sala.token_window<2, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[9223372036854775807, 3, 5]> : tensor<3xi64>, sizes = dense<[53, 59, 61, 67]> : tensor<4xi64>, end = 2 : i64} : !sala.weights<[240, 8], bf16>, !sala.token_window<2, f32> -> tensor<?x16xbf16>, !sala.token_window<2, f32>
  return %out, %window_1 : tensor<?x16xbf16>, !sala.token_window<2, f32>
}
// -----
// REFUSE: does not fit the multipliers
func.func @ngrams(%ids: tensor<?xi32>, %table: !sala.weights<[240, 8], bf16>, %window: !sala.token_window<3, f32>, %batch: !sala.batch) -> (tensor<?x32xbf16>, !sala.token_window<3, f32>) {
  %out, %window_1 = sala.ngram_embedding %ids, %table, %window, %batch {layer = 0 : i64, multipliers = dense<[9223372036854775807, 3, 5]> : tensor<3xi64>, sizes = dense<[53, 59, 61, 67]> : tensor<4xi64>, end = 2 : i64} : !sala.weights<[240, 8], bf16>, !sala.token_window<3, f32> -> tensor<?x32xbf16>, !sala.token_window<3, f32>
  return %out, %window_1 : tensor<?x32xbf16>, !sala.token_window<3, f32>
}
// -----
// REFUSE: there must be 64 columns, not 48
func.func @scores(%key: tensor<?x64xf32>, %query: tensor<?x48xf32>) -> tensor<?x4xf32> {
  %y = sala.score_streams %key, %query {layer = 0 : i64, streams = 4 : i64, scale = 2.500000e-01 : f64} : tensor<?x64xf32>, tensor<?x48xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
// -----
// REFUSE: 3 streams do not divide 64 columns
func.func @scores(%key: tensor<?x64xf32>, %query: tensor<?x64xf32>) -> tensor<?x4xf32> {
  %y = sala.score_streams %key, %query {layer = 0 : i64, streams = 3 : i64, scale = 2.500000e-01 : f64} : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
// -----
// REFUSE: 0 streams do not divide 64 columns
func.func @scores(%key: tensor<?x64xf32>, %query: tensor<?x64xf32>) -> tensor<?x4xf32> {
  %y = sala.score_streams %key, %query {layer = 0 : i64, streams = 0 : i64, scale = 2.500000e-01 : f64} : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
// -----
// REFUSE: result must have 4 columns, not 8
func.func @scores(%key: tensor<?x64xf32>, %query: tensor<?x64xf32>) -> tensor<?x8xf32> {
  %y = sala.score_streams %key, %query {layer = 0 : i64, streams = 4 : i64, scale = 2.500000e-01 : f64} : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
// -----
// REFUSE: least must not be negative
func.func @scores(%key: tensor<?x64xf32>, %query: tensor<?x64xf32>) -> tensor<?x4xf32> {
  %y = sala.score_streams %key, %query {layer = 0 : i64, streams = 4 : i64, scale = 2.500000e-01 : f64, least = -1.000000e+00 : f64} : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
