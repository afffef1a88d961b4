func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
func.func @attend(%a: tensor<?x60xbf16>, %q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch) -> (tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>) {
  %out, %cache_1 = sala.attend_latents %a, %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 1 : i64} : tensor<?x60xbf16>, tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16> -> tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
  return %out, %cache_1 : tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
}
// -----
func.func @product(%x: tensor<?x48xf32>, %w: !sala.weights<[18, 20], bf16>) -> tensor<?x60xbf16> {
  %y = sala.head_linear %x, %w {layer = 1 : i64, num_heads = 3 : i64} : tensor<?x48xf32>, !sala.weights<[18, 20], bf16> -> tensor<?x60xbf16>
  return %y : tensor<?x60xbf16>
}
// -----
func.func @product(%x: tensor<?x18xf32>, %w: !sala.weights<[18, 20], bf16>) -> tensor<?x60xbf16> {
  %y = sala.head_linear %x, %w {layer = 1 : i64, num_heads = 3 : i64} : tensor<?x18xf32>, !sala.weights<[18, 20], bf16> -> tensor<?x60xbf16>
  return %y : tensor<?x60xbf16>
}
// -----
func.func @rows(%w: !sala.weights<[39, 20], f32>) -> !sala.weights<[21, 20], f32> {
  %y = sala.head_rows %w {layer = 1 : i64, heads = 3 : i64, start = 6 : i64, size = 7 : i64} : !sala.weights<[39, 20], f32> -> !sala.weights<[21, 20], f32>
  return %y : !sala.weights<[21, 20], f32>
}
// -----
func.func @rows(%w: !sala.weights<[39, 20], f32>) -> !sala.weights<[60, 7], f32> {
  %y = sala.head_rows %w {layer = 1 : i64, heads = 3 : i64, start = 6 : i64, size = 7 : i64, transposed = 1 : i64} : !sala.weights<[39, 20], f32> -> !sala.weights<[60, 7], f32>
  return %y : !sala.weights<[60, 7], f32>
}
// -----
func.func @attention(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, f32>, %batch: !sala.batch, %s: tensor<?x5xi32>, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v selection(%s : tensor<?x5xi32>) heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64, pool = 4 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, f32>
}
// -----
func.func @attend(%a: tensor<?x60xbf16>, %q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch, %s: tensor<?x5xi32>) -> (tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>) {
  %out, %cache_1 = sala.attend_latents %a, %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch selection(%s : tensor<?x5xi32>) heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 1 : i64, pool = 4 : i64} : tensor<?x60xbf16>, tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16> -> tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
  return %out, %cache_1 : tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
}
// -----
func.func @unrotated(%q: tensor<?x18xf32>, %c: tensor<?x20xf32>, %cache: !sala.latent_cache<64, 20, 0, f32>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 0, f32>) {
  %out, %cache_1 = sala.latent_attention %q, %c, %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 0, latent_dim = 20, value_dim = 7, scale = 2.500000e-01> {layer = 0 : i64} : tensor<?x18xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 0, f32>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 0, f32>
  return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 0, f32>
}
