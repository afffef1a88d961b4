// REFUSE: sizes of sala.kv_cache must be positive
func.func @f(%a: !sala.kv_cache<0, 64, 128, bf16>) {
  return
}
// -----
// REFUSE: element type must be f32 or bf16
func.func @f(%a: !sala.kv_cache<2, 64, 128, i32>) {
  return
}
// -----
// REFUSE: kernel_size must be 2 * kernel_stride
func.func @f(%a: !sala.compressed_keys<2, 32, 8, 64, 128, f32>) {
  return
}
// -----
// REFUSE: page_tokens must be a multiple of kernel_stride
func.func @f(%a: !sala.compressed_keys<2, 32, 16, 40, 128, f32>) {
  return
}
// -----
// REFUSE: a weight has one or two positive dimensions
func.func @f(%a: !sala.weights<[2, 3, 4], f32>) {
  return
}
// -----
// REFUSE: a weight has one or two positive dimensions
func.func @f(%a: !sala.weights<[0, 3], f32>) {
  return
}
// -----
// REFUSE: element type must be f32 or bf16
func.func @f(%a: !sala.weights<[3], i8>) {
  return
}
// -----
// REFUSE: expected a weight encoding or layout
func.func @f(%a: !sala.weights<[3], f32, 7 : i64>) {
  return
}
// -----
// REFUSE: Expected `plain`, `int8`, `int6`, `int5`, or `int4`
func.func @f(%a: !sala.weights<[3], f32, #sala.encoding<int3>>) {
  return
}
// -----
// REFUSE: Expected `row_major`, `panel`, or `block`
func.func @f(%a: !sala.weights<[3], f32, #sala.layout<diagonal>>) {
  return
}
// -----
// REFUSE: a layout of panels, and no other, has a positive number of rows
func.func @f(%a: !sala.weights<[3], f32, #sala.layout<panel>>) {
  return
}
// -----
// REFUSE: a plain encoding has neither groups nor zeros
func.func @f(%a: !sala.weights<[3, 32], f32, #sala.encoding<plain, 32>>) {
  return
}
// -----
// REFUSE: the group of an integer encoding is a multiple of 16
func.func @f(%a: !sala.weights<[3, 32], f32, #sala.encoding<int4, 24>>) {
  return
}
// -----
// REFUSE: Expected `middle`, `stored`, or `minimum`
func.func @f(%a: !sala.weights<[3, 32], f32, #sala.encoding<int4, 32, round>>) {
  return
}
// -----
// REFUSE: the group of an integer encoding is a multiple of 32
func.func @f(%a: !sala.weights<[3, 48], f32, #sala.encoding<int5, 16>>) {
  return
}
// -----
// REFUSE: a super-block consists of whole groups
func.func @f(%a: !sala.weights<[3, 256], f32, #sala.encoding<int4, 32, minimum, 48>>) {
  return
}
// -----
// REFUSE: super-blocks have no integers for zeros
func.func @f(%a: !sala.weights<[3, 256], f32, #sala.encoding<int4, 32, stored, 256>>) {
  return
}
// -----
// REFUSE: only a matrix has an integer encoding
func.func @f(%a: !sala.weights<[32], f32, #sala.encoding<int4, 32>>) {
  return
}
// -----
// REFUSE: keys and values are rounded to 4 or 8 bits
func.func @f(%a: !sala.kv_cache<2, 64, 128, bf16, #sala.page_rounding<key_bits = 6, value_bits = 4, recent = 64>>) {
  return
}
// -----
// REFUSE: recent must be positive
func.func @f(%a: !sala.kv_cache<2, 64, 128, bf16, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 0>>) {
  return
}
// -----
// REFUSE: recent must be a multiple of 64
func.func @f(%a: !sala.kv_cache<2, 64, 128, bf16, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 96>>) {
  return
}
// -----
// REFUSE: tokens and columns in multiples of 16, not 24 and 128
func.func @f(%a: !sala.kv_cache<2, 24, 128, bf16, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 24>>) {
  return
}
// -----
// REFUSE: tokens and columns in multiples of 16, not 64 and 40
func.func @f(%a: !sala.kv_cache<2, 64, 40, bf16, #sala.page_rounding<key_bits = 8, value_bits = 4, recent = 64>>) {
  return
}
// -----
// REFUSE: expected a page rounding
func.func @f(%a: !sala.kv_cache<2, 64, 128, bf16, 7 : i64>) {
  return
}
