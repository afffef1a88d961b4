// Types and attributes in all their forms.
func.func @types(%a: !sala.batch, %b: !sala.kv_cache<2, 64, 128, bf16>, %c: !sala.compressed_keys<2, 32, 16, 64, 128, f32>, %d: !sala.recurrent_state<4, 16, 16, f32>, %recent: !sala.recent_keys<2, 128, 128, bf16>, %window: !sala.convolution_window<3, 64, f32>, %open: !sala.open_pool<7, 64, f32>, %ids: !sala.token_window<2, f32>, %latents: !sala.latent_cache<64, 512, 64, bf16>, %indexer: !sala.indexer_keys<4, 128, 64, bf16>, %e: !sala.weights<[64], f32>, %f: !sala.weights<[64, 32], bf16, #sala.layout<panel, 64>>) {
  return
}
// -----
func.func @attributes() attributes {encoding = #sala.encoding<plain>, layout = #sala.layout<row_major>, panel = #sala.layout<panel, 32>, int4 = #sala.encoding<int4, 128>, gptq = #sala.encoding<int4, 128, stored>, int8 = #sala.encoding<int8, 32>, q4_1 = #sala.encoding<int4, 32, minimum>, q6_k = #sala.encoding<int6, 16, middle, 256>, q5_k = #sala.encoding<int5, 32, minimum, 256>} {
  return
}
// -----
func.func @rounded(%int4: !sala.kv_cache<2, 64, 128, bf16, #sala.page_rounding<key_bits = 4, value_bits = 4, recent = 128>>, %k8v4: !sala.kv_cache<1, 16, 32, f32, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 16>>) {
  return
}
