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
func.func @f(%a: !sala.weight<[2, 3, 4], f32>) {
  return
}
// -----
// REFUSE: a weight has one or two positive dimensions
func.func @f(%a: !sala.weight<[0, 3], f32>) {
  return
}
// -----
// REFUSE: element type must be f32 or bf16
func.func @f(%a: !sala.weight<[3], i8>) {
  return
}
// -----
// REFUSE: expected a weight encoding or layout
func.func @f(%a: !sala.weight<[3], f32, 7 : i64>) {
  return
}
// -----
// REFUSE: Expected `plain`, `int8`, or `int4`
func.func @f(%a: !sala.weight<[3], f32, #sala.encoding<int3>>) {
  return
}
// -----
// REFUSE: Expected `row_major`, `panel`, or `block`
func.func @f(%a: !sala.weight<[3], f32, #sala.layout<diagonal>>) {
  return
}
// -----
// REFUSE: a layout of panels, and no other, has a positive number of rows
func.func @f(%a: !sala.weight<[3], f32, #sala.layout<panel>>) {
  return
}
// -----
// REFUSE: a plain encoding has neither groups nor zeros
func.func @f(%a: !sala.weight<[3, 32], f32, #sala.encoding<plain, 32>>) {
  return
}
// -----
// REFUSE: the group of an integer encoding is a multiple of 16
func.func @f(%a: !sala.weight<[3, 32], f32, #sala.encoding<int4, 24>>) {
  return
}
// -----
// REFUSE: Expected `middle`, or `stored`
func.func @f(%a: !sala.weight<[3, 32], f32, #sala.encoding<int4, 32, round>>) {
  return
}
// -----
// REFUSE: only a matrix has an integer encoding
func.func @f(%a: !sala.weight<[32], f32, #sala.encoding<int4, 32>>) {
  return
}
