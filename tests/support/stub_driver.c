/* A libcuda.so.1 without a GPU: memory is the host's, launches are written down and not done.
 *
 * STUB_CUDA has "key=value" pairs separated by commas: version, count, major, minor, shared, total,
 * init (error code of cuInit), load (error code of cuModuleLoadData), launch (that of every launch).
 * STUB_CUDA_LOG names the file to which every launch and attribute is appended.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef void *Handle;
enum { OUT_OF_MEMORY = 2, NOT_FOUND = 500, CAPTURING = 900 };

static size_t taken;
static int capturing;
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

static Result give(Handle *place) { *place = (Handle)handles++; return 0; }

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
  *context = (Handle)1;
  return 0;
}
Result cuDevicePrimaryCtxRelease_v2(int device) { (void)device; note("release\n"); return 0; }
Result cuCtxSetCurrent(Handle context) { return context == (Handle)1 ? 0 : NOT_FOUND; }

Result cuMemGetInfo_v2(size_t *unused, size_t *total) {
  *total = (size_t)option("total", 1L << 30);
  *unused = *total - taken;
  return 0;
}
/* Sizes stand in front of blocks. */
static void *block(size_t size) {
  char *place = aligned_alloc(256, (size + 511) / 256 * 256);
  *(size_t *)place = size;
  return place + 256;
}
Result cuMemAlloc_v2(uint64_t *pointer, size_t size) {
  if (taken + size > (size_t)option("grant", option("total", 1L << 30))) return OUT_OF_MEMORY;
  taken += size;
  *pointer = (uint64_t)(uintptr_t)block(size);
  return 0;
}
Result cuMemFree_v2(uint64_t pointer) {
  char *place = (char *)(uintptr_t)pointer - 256;
  taken -= *(size_t *)place;
  note("free %zu\n", *(size_t *)place);
  free(place);
  return 0;
}
Result cuMemHostAlloc(void **pointer, size_t size, unsigned flags) {
  (void)flags;
  *pointer = block(size);
  return 0;
}
Result cuMemFreeHost(void *pointer) { free((char *)pointer - 256); return 0; }

static Result move(void *target, const void *source, size_t size, Handle stream) {
  if (!stream) return NOT_FOUND;
  if (capturing) return CAPTURING;
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
  if (!stream) return NOT_FOUND;
  memset((void *)(uintptr_t)target, byte, size);
  return 0;
}

Result cuStreamCreate(Handle *stream, unsigned flags) { (void)flags; return give(stream); }
Result cuStreamDestroy_v2(Handle stream) { (void)stream; return 0; }
Result cuStreamSynchronize(Handle stream) { return stream ? 0 : NOT_FOUND; }
Result cuEventCreate(Handle *event, unsigned flags) { (void)flags; return give(event); }
Result cuEventDestroy_v2(Handle event) { (void)event; return 0; }
Result cuEventRecord(Handle event, Handle stream) { return event && stream ? 0 : NOT_FOUND; }
Result cuEventSynchronize(Handle event) { return event ? 0 : NOT_FOUND; }

Result cuModuleLoadData(Handle *module, const void *image) {
  if (memcmp(image, "\177ELF", 4)) return 200;
  Result refused = (Result)option("load", 0);
  return refused ? refused : give(module);
}
Result cuModuleUnload(Handle module) { (void)module; note("unload\n"); return 0; }
Result cuModuleGetFunction(Handle *function, Handle module, const char *name) {
  if (!module) return NOT_FOUND;
  *function = strdup(name);
  return 0;
}
Result cuFuncSetAttribute(Handle function, int attribute, int value) {
  note("attribute %s %d %d\n", (char *)function, attribute, value);
  return 0;
}
/* "launch NAME GRID THREADS SHARED:" and the first 8 bytes of up to 16 arguments, an address with
 * the byte that is there; the two null pointers at the end are the last. */
Result cuLaunchKernel(Handle function, unsigned x, unsigned y, unsigned z, unsigned threads,
                      unsigned rows, unsigned planes, unsigned shared, Handle stream,
                      void **arguments, void **extra) {
  if (!stream || extra || rows != 1 || planes != 1) return NOT_FOUND;
  Result failed = (Result)option("launch", 0);
  if (failed) return failed;
  note("%s %s %u %u %u %u %u:", capturing ? "captured" : "launch", (char *)function, x, y, z,
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
  capturing = 1;
  return stream ? 0 : NOT_FOUND;
}
Result cuStreamEndCapture(Handle stream, Handle *graph) {
  (void)stream;
  capturing = 0;
  return give(graph);
}
Result cuGraphInstantiateWithFlags(Handle *executable, Handle graph, uint64_t flags) {
  if (flags || !graph) return NOT_FOUND;
  taken += 4096;
  return give(executable);
}
Result cuGraphDestroy(Handle graph) { return graph ? 0 : NOT_FOUND; }
Result cuGraphLaunch(Handle graph, Handle stream) {
  note("graph\n");
  return graph && stream ? 0 : NOT_FOUND;
}
Result cuGraphExecDestroy(Handle graph) {
  taken -= 4096;
  return graph ? 0 : NOT_FOUND;
}
