// The kernels of a phase, one after the other.
//
// A caller in Python would take its interpreter's lock again after every kernel, and wait for the
// threads that hold it meanwhile. Here it is free from the first kernel to the last.

#include <stdint.h>

extern "C" {
struct Value {  // TVMFFIAny
  int32_t type;
  uint32_t unused;
  int64_t value;
};
int TVMFFIFunctionCall(void* function, Value* arguments, int32_t count, Value* result);
}

namespace {

struct Call {
  void* function;
  Value* arguments;
  int64_t count;
};

}  // namespace

// A function of the library as its kernels are: of the address of calls, and their number. The
// first that fails is the last; its error is that of the function.
extern "C" __attribute__((visibility("default"))) int __tvm_ffi_sala_run_calls(
    void*, const Value* arguments, int32_t, Value*) {
  const Call* call = reinterpret_cast<const Call*>(arguments[0].value);
  for (const Call* end = call + arguments[1].value; call != end; ++call) {
    Value nothing{0, 0, 0};
    if (TVMFFIFunctionCall(call->function, call->arguments, int32_t(call->count), &nothing))
      return -1;
  }
  return 0;
}
