// run: open-attention
func.func @step(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, bf16>) {
  %out, %cache_1 = sala.latent_attention %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch, %k, %v heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 0.25> {layer = 0 : i64} : tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16>, !sala.weights<[18, 20], f32>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, bf16>
  func.return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, bf16>
}
// -----
func.func @step(%q: tensor<?x36xf32>, %c: tensor<?x20xf32>, %r: tensor<?x6xf32>, %cache: !sala.latent_cache<64, 20, 6, bf16>, %batch: !sala.batch, %k: !sala.weights<[18, 20], f32>, %v: !sala.weights<[60, 7], f32>) -> (tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, bf16>) {
  %absorbed = sala.head_linear %q, %k {layer = 0 : i64, num_heads = 3 : i64} : tensor<?x36xf32>, !sala.weights<[18, 20], f32> -> tensor<?x60xbf16>
  %latents, %cache_1 = sala.attend_latents %absorbed, %q, %c rotary(%r : tensor<?x6xf32>), %cache, %batch heads <num_heads = 3, key_dim = 6, rotary_dim = 6, latent_dim = 20, value_dim = 7, scale = 0.25> {layer = 0 : i64} : tensor<?x60xbf16>, tensor<?x36xf32>, tensor<?x20xf32>, !sala.latent_cache<64, 20, 6, bf16> -> tensor<?x60xbf16>, !sala.latent_cache<64, 20, 6, bf16>
  %out = sala.head_linear %latents, %v {layer = 0 : i64, num_heads = 3 : i64} : tensor<?x60xbf16>, !sala.weights<[60, 7], f32> -> tensor<?x21xf32>
  func.return %out, %cache_1 : tensor<?x21xf32>, !sala.latent_cache<64, 20, 6, bf16>
}
