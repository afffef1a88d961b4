// REFUSE: q must have 36 columns, not 48
func.func @attention(%q: tensor<?x48xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x48xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: latent must have 20 columns, not 24
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x24xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x24xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: rotary must have 6 columns, not 4
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x4xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x4xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: out must have 21 columns, not 18
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x18xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x18xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x18xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: key_weight must have shape [18, 20]
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[20, 18], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[20, 18], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: value_weight must have shape [60, 7]
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[21, 20], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[21, 20], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: does not fit the heads
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 6, 20, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 6, 20, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 6, 20, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 6, 20, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 6, 20, f32>
}
// -----
// REFUSE: latent_dim and rotary_dim must be even
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 5, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: num_heads and the sizes of latent heads must be positive
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 0, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: absorbed must have 60 columns, not 18
func.func @attend(%a: tensor<?x18xbf16>, %q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch) -> (tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>) {
  %out, %cache_1 = sala.attend_latents %a, %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 1 : i64} : tensor<?x18xbf16>, tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16> -> tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
  return %out, %cache_1 : tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
}
// -----
// REFUSE: out must have 60 columns, not 48
func.func @attend(%a: tensor<?x60xbf16>, %q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch) -> (tensor<?x48xbf16>, !sala.latent_cache<64, 20, 6, bf16>) {
  %out, %cache_1 = sala.attend_latents %a, %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 1 : i64} : tensor<?x60xbf16>, tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16> -> tensor<?x48xbf16>, !sala.latent_cache<64, 20, 6, bf16>
  return %out, %cache_1 : tensor<?x48xbf16>, !sala.latent_cache<64, 20, 6, bf16>
}
// -----
// REFUSE: 5 heads do not divide 48 columns and 18 rows
func.func @product(%x: tensor<?x48xf32>, %w: !sala.weights<[18, 20], bf16>) -> tensor<?x60xbf16> {
  %y = sala.head_linear %x, %w {layer = 1 : i64, num_heads = 5 : i64} : tensor<?x48xf32>, !sala.weights<[18, 20], bf16> -> tensor<?x60xbf16>
  return %y : tensor<?x60xbf16>
}
// -----
// REFUSE: a head of x has too few columns
func.func @product(%x: tensor<?x15xf32>, %w: !sala.weights<[18, 20], bf16>) -> tensor<?x60xbf16> {
  %y = sala.head_linear %x, %w {layer = 1 : i64, num_heads = 3 : i64} : tensor<?x15xf32>, !sala.weights<[18, 20], bf16> -> tensor<?x60xbf16>
  return %y : tensor<?x60xbf16>
}
// -----
// REFUSE: result must have 60 columns, not 20
func.func @product(%x: tensor<?x48xf32>, %w: !sala.weights<[18, 20], bf16>) -> tensor<?x20xbf16> {
  %y = sala.head_linear %x, %w {layer = 1 : i64, num_heads = 3 : i64} : tensor<?x48xf32>, !sala.weights<[18, 20], bf16> -> tensor<?x20xbf16>
  return %y : tensor<?x20xbf16>
}
// -----
// REFUSE: 4 heads do not divide 39 rows
func.func @rows(%w: !sala.weights<[39, 20], f32>) -> !sala.weights<[21, 20], f32> {
  %y = sala.head_rows %w {layer = 1 : i64, heads = 4 : i64, start = 6 : i64, size = 7 : i64} : !sala.weights<[39, 20], f32> -> !sala.weights<[21, 20], f32>
  return %y : !sala.weights<[21, 20], f32>
}
// -----
// REFUSE: rows 6 .. 14 lie outside 0 .. 13
func.func @rows(%w: !sala.weights<[39, 20], f32>) -> !sala.weights<[24, 20], f32> {
  %y = sala.head_rows %w {layer = 1 : i64, heads = 3 : i64, start = 6 : i64, size = 8 : i64} : !sala.weights<[39, 20], f32> -> !sala.weights<[24, 20], f32>
  return %y : !sala.weights<[24, 20], f32>
}
// -----
// REFUSE: transposed must be 0 or 1
func.func @rows(%w: !sala.weights<[39, 20], f32>) -> !sala.weights<[21, 20], f32> {
  %y = sala.head_rows %w {layer = 1 : i64, heads = 3 : i64, start = 6 : i64, size = 7 : i64, transposed = 2 : i64} : !sala.weights<[39, 20], f32> -> !sala.weights<[21, 20], f32>
  return %y : !sala.weights<[21, 20], f32>
}
// -----
// REFUSE: result must be
func.func @rows(%w: !sala.weights<[39, 20], f32>) -> !sala.weights<[21, 20], f32> {
  %y = sala.head_rows %w {layer = 1 : i64, heads = 3 : i64, start = 6 : i64, size = 7 : i64, transposed = 1 : i64} : !sala.weights<[39, 20], f32> -> !sala.weights<[21, 20], f32>
  return %y : !sala.weights<[21, 20], f32>
}
// -----
// REFUSE: integers are not divided by heads
func.func @rows(%w: !sala.weights<[39, 20], f32, #sala.encoding<int8, 128>>) -> !sala.weights<[21, 20], f32, #sala.encoding<int8, 128>> {
  %y = sala.head_rows %w {layer = 1 : i64, heads = 3 : i64, start = 6 : i64, size = 7 : i64} : !sala.weights<[39, 20], f32, #sala.encoding<int8, 128>> -> !sala.weights<[21, 20], f32, #sala.encoding<int8, 128>>
  return %y : !sala.weights<[21, 20], f32, #sala.encoding<int8, 128>>
}
// -----
// REFUSE: selection and pool come together
func.func @attend(%a: tensor<?x60xbf16>, %q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch, %s: tensor<?x5xi32>) -> (tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>) {
  %out, %cache_1 = sala.attend_latents %a, %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch selection(%s : tensor<?x5xi32>) heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 1 : i64} : tensor<?x60xbf16>, tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16> -> tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
  return %out, %cache_1 : tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
}
// -----
// REFUSE: selection and pool come together
func.func @attend(%a: tensor<?x60xbf16>, %q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch) -> (tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>) {
  %out, %cache_1 = sala.attend_latents %a, %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 1 : i64, pool = 4 : i64} : tensor<?x60xbf16>, tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16> -> tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
  return %out, %cache_1 : tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
}
// -----
// REFUSE: pools of 5 tokens do not divide pages of 64
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %s: tensor<?x5xi32>, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v selection(%s : tensor<?x5xi32>) heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64, pool = 5 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
// REFUSE: selection must be tensor<?xBxi32>
func.func @attend(%a: tensor<?x60xbf16>, %q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch, %s: tensor<?x2x5xi32>) -> (tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>) {
  %out, %cache_1 = sala.attend_latents %a, %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch selection(%s : tensor<?x2x5xi32>) heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 1 : i64, pool = 4 : i64} : tensor<?x60xbf16>, tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16> -> tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
  return %out, %cache_1 : tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
}
// -----
// REFUSE: rotary is absent if rotary_dim is 0
func.func @rotated(%q: tensor<?x18xf32>, %c: tensor<?x20xf32>, %r: tensor<?x2xf32>, %cache: !sala.latent_cache<64, 20, 0, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 0, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x2xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 0, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x18xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 0, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 0, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 0, f32>
}
// -----
// REFUSE: rotary is absent if rotary_dim is 0
func.func @missing(%q: tensor<?x24xf32>, %c: tensor<?x20xf32>, %cache: !sala.latent_cache<64, 20, 2, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 2, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c, %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 2, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x24xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 2, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 2, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 2, f32>
}
