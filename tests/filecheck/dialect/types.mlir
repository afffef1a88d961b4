// Types and attributes in all their forms.
func.func @types(%a: !sala.batch, %b: !sala.kv_cache<2, 64, 128, bf16>, %c: !sala.compressed_keys<2, 32, 16, 64, 128, f32>, %d: !sala.recurrent_state<4, 16, 16, f32>, %e: !sala.weight<[64], f32>, %f: !sala.weight<[64, 32], bf16, #sala.layout<panel, 64>>) {
  return
}
// -----
func.func @attributes() attributes {encoding = #sala.encoding<plain>, layout = #sala.layout<row_major>, panel = #sala.layout<panel, 32>, int4 = #sala.encoding<int4, 128>, gptq = #sala.encoding<int4, 128, stored>, int8 = #sala.encoding<int8, 32>} {
  return
}
