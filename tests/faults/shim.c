/* Makes the n-th system call on a file below one directory fail, come short, or kill the process.

   Preloaded (LD_PRELOAD), idle until `fault_arm` is called. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { KILL = -1, SHORT = -2 };

static char prefix[PATH_MAX];
static long countdown, seen;
static int kind;
static char what[64];

/* Count the calls below `directory`; the `at`-th fails with the error `number`, or as KILL, SHORT. */
void fault_arm(const char *directory, long at, int number) {
  strncpy(prefix, directory, sizeof prefix - 1);
  countdown = at;
  kind = number;
  seen = 0;
}

long fault_seen(void) { return seen; }
const char *fault_what(void) { return what; }

static int below(int directory, const char *path) {
  char full[PATH_MAX * 2], link[64];
  ssize_t size = 0;
  if (!prefix[0]) return 0;
  if (path == NULL || (path[0] != '/' && directory != AT_FDCWD)) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    size = readlink(link, full, PATH_MAX - 1);
    if (size < 0) return 0;
  }
  full[size] = 0;
  if (path != NULL) snprintf(full + size, sizeof full - size, "%s%s", size ? "/" : "", path);
  return strncmp(full, prefix, strlen(prefix)) == 0;
}

/* 0: go on; 1: fail, errno is set; 2: come short. */
static int fault(const char *call, int directory, const char *path) {
  int saved = errno, fires = below(directory, path) && ++seen == countdown;
  errno = saved;
  if (!fires) return 0;
  strncpy(what, call, sizeof what - 1);
  if (kind == KILL) kill(getpid(), SIGKILL);
  if (kind == SHORT) return 2;
  errno = kind;
  return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILING(result, name, parameters, arguments, directory, path) \
  result name parameters {                                            \
    if (fault(#name, directory, path) == 1) return (result)-1;        \
    return NEXT(name) arguments;                                      \
  }
#define OPENING(name, parameters, arguments, directory)          \
  int name parameters {                                          \
    mode_t mode = 0;                                             \
    if (flags & (O_CREAT | O_TMPFILE)) {                         \
      va_list list;                                              \
      va_start(list, flags);                                     \
      mode = va_arg(list, mode_t);                               \
      va_end(list);                                              \
    }                                                            \
    if (fault(#name, directory, path) == 1) return -1;           \
    return NEXT(name) arguments;                                 \
  }

OPENING(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPENING(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPENING(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
OPENING(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)

ssize_t write(int file, const void *data, size_t size) {
  int found = fault("write", file, NULL);
  if (found == 1) return -1;
  return NEXT(write)(file, data, found == 2 && size > 1 ? size / 2 : size);
}

int close(int file) {
  int found = fault("close", file, NULL), number = errno;
  int result = NEXT(close)(file);
  if (found != 1) return result;
  errno = number;
  return -1;
}

FAILING(int, fsync, (int file), (file), file, NULL)
FAILING(int, fdatasync, (int file), (file), file, NULL)
FAILING(int, fchmod, (int file, mode_t mode), (file, mode), file, NULL)
FAILING(int, ftruncate, (int file, off_t size), (file, size), file, NULL)
FAILING(int, ftruncate64, (int file, off64_t size), (file, size), file, NULL)
FAILING(int, rename, (const char *old, const char *new), (old, new), AT_FDCWD, old)
FAILING(int, renameat, (int a, const char *old, int b, const char *new), (a, old, b, new), a, old)
FAILING(int, renameat2, (int a, const char *old, int b, const char *new, unsigned flags),
        (a, old, b, new, flags), a, old)
FAILING(int, link, (const char *old, const char *new), (old, new), AT_FDCWD, old)
FAILING(int, unlink, (const char *path), (path), AT_FDCWD, path)
FAILING(int, unlinkat, (int at, const char *path, int flags), (at, path, flags), at, path)
FAILING(int, mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
FAILING(int, rmdir, (const char *path), (path), AT_FDCWD, path)
FAILING(void *, mmap, (void *at, size_t size, int access, int flags, int file, off_t from),
        (at, size, access, flags, file, from), file, NULL)
FAILING(void *, mmap64, (void *at, size_t size, int access, int flags, int file, off64_t from),
        (at, size, access, flags, file, from), file, NULL)
