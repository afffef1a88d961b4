/* A libcuda.so.1 without a GPU: memory is the host's, launches are written down and not done.
 *
 * STUB_CUDA has "key=value" pairs separated by commas: version, count, major, minor, shared, total,
 * init (error code of cuInit), load (error code of cuModuleLoadData), launch (that of every launch).
 * Every GPU has a context, current in a thread by cuCtxSetCurrent; what was made in one is refused
 * in another. Built with -DOLD it is a driver without cuFuncLoad.
 * STUB_CUDA_LOG names the file to which every launch and attribute is appended.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef void *Handle;
enum { OUT_OF_MEMORY = 2, BAD_CONTEXT = 201, NOT_FOUND = 500, CAPTURING = 900, NOT_CAPTURING = 901 };

enum { GPUS = 4, HANDLES = 1 << 20 };
static __thread intptr_t current; /* the context of GPU n is n + 1 */
static size_t taken[GPUS + 1];
static Handle capturing;
static intptr_t handles = 16;

static long option(const char *key, long fallback) {
  const char *text = getenv("STUB_CUDA");
  size_t length = strlen(key);
  while (text && *text) {
    if (!strncmp(text, key, length) && text[length] == '=') return atol(text + length + 1);
    text = strchr(text, ',');
    text = text ? text + 1 : NULL;
  }
  return fallback;
}

static void note(const char *format, ...) {
  const char *path = getenv("STUB_CUDA_LOG");
  if (!path) return;
  FILE *file = fopen(path, "a");
  va_list arguments;
  va_start(arguments, format);
  vfprintf(file, format, arguments);
  va_end(arguments);
  fclose(file);
}

/* Handles of a context are numbers behind its own; blocks and functions have it in front. */
static Result give(Handle *place) {
  if (!current) return BAD_CONTEXT;
  *place = (Handle)(current * HANDLES + handles++);
  return 0;
}
static Result own(Handle handle) {
  if (!handle) return NOT_FOUND;
  return (intptr_t)handle / HANDLES == current ? 0 : BAD_CONTEXT;
}
typedef struct { intptr_t context; size_t size; char pinned; } Block;
enum { FRONT = 256 };
static Block *front(const void *place) { return (Block *)((char *)(uintptr_t)place - FRONT); }
typedef struct { intptr_t context; int loaded; char name[]; } Function;

Result cuInit(unsigned flags) { (void)flags; return (Result)option("init", 0); }
Result cuGetErrorName(int code, const char **text) {
  *text = code == 100 ? "CUDA_ERROR_NO_DEVICE" : code == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
        : code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_STUB";
  return 0;
}
Result cuGetErrorString(int code, const char **text) { (void)code; *text = "as told"; return 0; }
Result cuDriverGetVersion(int *version) { *version = (int)option("version", 13000); return 0; }
Result cuDeviceGetCount(int *count) { *count = (int)option("count", 1); return 0; }
Result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
Result cuDeviceGetName(char *name, int size, int device) {
  snprintf(name, (size_t)size, "Stub GPU %d", device);
  return 0;
}
Result cuDeviceTotalMem_v2(size_t *size, int device) {
  (void)device;
  *size = (size_t)option("total", 1L << 30);
  return 0;
}
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  *value = (int)(attribute == 75   ? option("major", 9)
                 : attribute == 76 ? option("minor", 0)
                                   : option("shared", 227 << 10));
  return 0;
}
Result cuDevicePrimaryCtxRetain(Handle *context, int device) {
  (void)device;
  *context = (Handle)(intptr_t)(device + 1);
  return 0;
}
Result cuDevicePrimaryCtxRelease_v2(int device) { (void)device; note("release\n"); return 0; }
Result cuCtxGetCurrent(Handle *context) { *context = (Handle)current; return 0; }
Result cuCtxSetCurrent(Handle context) {
  if ((intptr_t)context > GPUS) return BAD_CONTEXT;
  current = (intptr_t)context;
  return 0;
}

Result cuMemGetInfo_v2(size_t *unused, size_t *total) {
  if (!current) return BAD_CONTEXT;
  *total = (size_t)option("total", 1L << 30);
  *unused = *total - taken[current];
  return 0;
}
static void *block(size_t size, char pinned) {
  char *place = aligned_alloc(FRONT, (size + 2 * FRONT - 1) / FRONT * FRONT);
  *(Block *)place = (Block){current, size, pinned};
  return place + FRONT;
}
Result cuMemAlloc_v2(uint64_t *pointer, size_t size) {
  if (!current) return BAD_CONTEXT;
  if (taken[current] + size > (size_t)option("grant", option("total", 1L << 30))) return OUT_OF_MEMORY;
  taken[current] += size;
  note("allocate %d %zu\n", (int)current - 1, size);
  *pointer = (uint64_t)(uintptr_t)block(size, 0);
  return 0;
}
Result cuMemFree_v2(uint64_t pointer) {
  Block *place = front((void *)(uintptr_t)pointer);
  if (place->context != current) return BAD_CONTEXT;
  taken[current] -= place->size;
  note("free %zu\n", place->size);
  free(place);
  return 0;
}
Result cuMemHostAlloc(void **pointer, size_t size, unsigned flags) {
  (void)flags;
  if (!current) return BAD_CONTEXT;
  *pointer = block(size, 1);
  return 0;
}
Result cuMemFreeHost(void *pointer) {
  if (front(pointer)->context != current) return BAD_CONTEXT;
  free(front(pointer));
  return 0;
}

static Result move(void *target, const void *source, size_t size, Handle stream) {
  Result wrong = own(stream);
  if (wrong) return wrong;
  if (capturing == stream) return CAPTURING;
  memcpy(target, source, size);
  return 0;
}
Result cuMemcpyHtoDAsync_v2(uint64_t target, const void *source, size_t size, Handle stream) {
  return move((void *)(uintptr_t)target, source, size, stream);
}
Result cuMemcpyDtoHAsync_v2(void *target, uint64_t source, size_t size, Handle stream) {
  return move(target, (void *)(uintptr_t)source, size, stream);
}
Result cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t size, Handle stream) {
  return move((void *)(uintptr_t)target, (void *)(uintptr_t)source, size, stream);
}
Result cuMemsetD8Async(uint64_t target, unsigned char byte, size_t size, Handle stream) {
  Result wrong = own(stream);
  if (wrong) return wrong;
  memset((void *)(uintptr_t)target, byte, size);
  return 0;
}

Result cuStreamCreate(Handle *stream, unsigned flags) { (void)flags; return give(stream); }
Result cuStreamDestroy_v2(Handle stream) { return own(stream); }
Result cuStreamSynchronize(Handle stream) { return capturing == stream ? CAPTURING : own(stream); }
Result cuEventCreate(Handle *event, unsigned flags) { (void)flags; return give(event); }
Result cuEventDestroy_v2(Handle event) { return own(event); }
Result cuEventRecord(Handle event, Handle stream) { return own(event) ? own(event) : own(stream); }
Result cuEventSynchronize(Handle event) { return own(event); }

Result cuModuleLoadData(Handle *module, const void *image) {
  if (memcmp(image, "\177ELF", 4)) return 200;
  Result refused = (Result)option("load", 0);
  return refused ? refused : give(module);
}
Result cuModuleUnload(Handle module) { note("unload\n"); return own(module); }
Result cuModuleGetFunction(Handle *function, Handle module, const char *name) {
  Result wrong = own(module);
  if (wrong) return wrong;
  Function *made = malloc(sizeof *made + strlen(name) + 1);
  *made = (Function){current, 0};
  strcpy(made->name, name);
  *function = made;
  return 0;
}
static Result load(Function *function) {
  if (function->context != current) return BAD_CONTEXT;
  if (capturing && !function->loaded) return CAPTURING;
  function->loaded = 1;
  return 0;
}
#ifndef OLD
Result cuFuncLoad(Handle function) { return load(function); }
#endif
Result cuFuncGetAttribute(int *value, int attribute, Handle function) {
  *value = attribute;
  return load(function);
}
Result cuFuncSetAttribute(Handle function, int attribute, int value) {
  note("attribute %s %d %d\n", ((Function *)function)->name, attribute, value);
  return ((Function *)function)->context == current ? 0 : BAD_CONTEXT;
}
/* "launch NAME GRID THREADS SHARED:" and the first 8 bytes of up to 16 arguments, an address with
 * the byte that is there; the two null pointers at the end are the last. */
Result cuLaunchKernel(Handle function, unsigned x, unsigned y, unsigned z, unsigned threads,
                      unsigned rows, unsigned planes, unsigned shared, Handle stream,
                      void **arguments, void **extra) {
  if (extra || rows != 1 || planes != 1) return NOT_FOUND;
  Result wrong = own(stream) ? own(stream) : load(function);
  if (wrong) return wrong;
  Result failed = (Result)option("launch", 0);
  if (failed) return failed;
  note("%s %s %u %u %u %u %u:", capturing ? "captured" : "launch", ((Function *)function)->name, x, y, z,
       threads, shared);
  for (int index = 0, nulls = 0; index < 16 && nulls < 2; index++) {
    uint64_t value = *(uint64_t *)arguments[index];
    nulls = value ? 0 : nulls + 1;
    note(" %llu", (unsigned long long)value);
  }
  note("\n");
  return 0;
}

Result cuStreamBeginCapture_v2(Handle stream, int mode) {
  (void)mode;
  if (capturing) return CAPTURING;
  capturing = stream;
  return own(stream);
}
Result cuStreamEndCapture(Handle stream, Handle *graph) {
  if (capturing != stream) return NOT_CAPTURING;
  capturing = NULL;
  return give(graph);
}
Result cuGraphInstantiateWithFlags(Handle *executable, Handle graph, uint64_t flags) {
  if (flags) return NOT_FOUND;
  taken[current] += 4096;
  return own(graph) ? own(graph) : give(executable);
}
Result cuGraphDestroy(Handle graph) { return own(graph); }
Result cuGraphLaunch(Handle graph, Handle stream) {
  if (capturing) return CAPTURING;
  note("graph\n");
  return own(graph) ? own(graph) : own(stream);
}
Result cuGraphExecDestroy(Handle graph) {
  taken[current] -= 4096;
  return own(graph);
}
