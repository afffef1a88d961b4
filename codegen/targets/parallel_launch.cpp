// The threads of a kernel library, and how its parallel loops run on them.
//
// TVM compiles a parallel loop to a call through the pointer `__TVMBackendParallelLaunch` of the
// library. TVM's own pool waits by giving its time slice away, so that on a busy machine every
// kernel waits for the slices of other processes. Here a thread that waits spins for a moment,
// then sleeps until it is woken, and the caller does every task that its worker has not begun: it
// waits for work in progress only.
//
// Task i is that of worker i, whoever does it: results do not depend on who was there.

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <new>

// The version that every glibc has. The linker would take that of the compiling machine's.
__asm__(".symver pthread_create, pthread_create@GLIBC_2.2.5");

extern "C" {
struct Group {  // TVMParallelGroupEnv
  void* barrier;
  int32_t tasks;
};
using Body = int (*)(int task, Group* group, void* data);  // FTVMParallelLambda
using Launch = int (*)(Body body, void* data, int tasks);
extern __attribute__((weak)) Launch __TVMBackendParallelLaunch;  // absent if nothing is parallel
void TVMFFIErrorMoveFromRaised(void** error);
void TVMFFIErrorSetRaised(void* error);
int TVMFFIObjectDecRef(void* object);
}

namespace {

constexpr uint64_t kSpinCycles = 200000;  // some 80 us: longer than the time between two kernels

enum State : uint32_t {
  kFree,     // the worker looks for a task
  kAsleep,   // it sleeps until there is one
  kReady,    // there is a task, which nobody has begun
  kRunning,  // the worker does it
  kAwaited,  // and the caller sleeps until it is done
  kClosed,   // the worker ends
};

struct Team;

struct alignas(64) Seat {
  Team* team;
  int task;
  std::atomic<uint32_t> state{kFree};
  void* error = nullptr;  // of the task that failed
};

struct alignas(64) Team {
  int threads;
  std::atomic<int> owners{1};
  bool busy = false;
  Body body = nullptr;
  void* data = nullptr;
  Group group{nullptr, threads};
  Seat* seats = reinterpret_cast<Seat*>(this + 1);  // of workers 1 .. threads - 1

  Seat* end() { return seats + threads - 1; }

  // The last to leave frees the team. In a forked process that is nobody.
  void leave() {
    if (owners.fetch_sub(1, std::memory_order_acq_rel) == 1) free(this);
  }
};

thread_local Team* current = nullptr;

void futex(std::atomic<uint32_t>& word, int operation, uint32_t value) {
  syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}

// Wait until the state is neither `old` nor `asleep`, which `old` becomes while this thread sleeps.
uint32_t wait(std::atomic<uint32_t>& state, const uint32_t old, const uint32_t asleep) {
  uint64_t began = __builtin_ia32_rdtsc();
  for (;;) {
    uint32_t now = state.load(std::memory_order_acquire);
    if (now == asleep) {
      futex(state, FUTEX_WAIT, asleep);
      began = __builtin_ia32_rdtsc();
    } else if (now != old) {
      return now;
    } else if (__builtin_ia32_rdtsc() - began < kSpinCycles) {
      __builtin_ia32_pause();
    } else {
      state.compare_exchange_strong(now, asleep, std::memory_order_acq_rel);
    }
  }
}

// Change the state, and wake who sleeps while it is `asleep`.
void change(std::atomic<uint32_t>& state, State next, State asleep) {
  if (state.exchange(next, std::memory_order_acq_rel) == asleep) futex(state, FUTEX_WAKE, 1);
}

// Begin the task of a seat unless somebody has.
bool take(Seat* seat, State next) {
  uint32_t ready = kReady;
  return seat->state.compare_exchange_strong(ready, next, std::memory_order_acq_rel);
}

void* work(void* argument) {
  Seat* seat = static_cast<Seat*>(argument);
  Team* team = seat->team;
  while (wait(seat->state, kFree, kAsleep) != kClosed) {
    if (!take(seat, kRunning)) continue;
    if (team->body(seat->task, &team->group, team->data)) TVMFFIErrorMoveFromRaised(&seat->error);
    change(seat->state, kFree, kAwaited);
  }
  team->leave();
  return nullptr;
}

bool start(Seat* seat) {
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  bool started = pthread_create(&thread, &attributes, work, seat) == 0;
  pthread_attr_destroy(&attributes);
  return started;
}

int alone(Body body, void* data, int tasks) {
  Group group{nullptr, tasks};
  for (int task = 0; task < tasks; ++task)
    if (body(task, &group, data)) return -1;
  return 0;
}

// Raise the error of a worker's task in the caller, if there is one.
bool raise(Seat* seat) {
  if (!seat->error) return false;
  TVMFFIErrorSetRaised(seat->error);
  TVMFFIObjectDecRef(seat->error);
  seat->error = nullptr;
  return true;
}

// TVMBackendParallelLaunch. `tasks` is 0 for one of each thread. Bodies may not wait for each other.
int launch(Body body, void* data, int tasks) {
  Team* team = current;
  if (!team || team->busy || (tasks && tasks != team->threads))
    return alone(body, data, tasks ? tasks : 1);
  team->busy = true;
  team->body = body;
  team->data = data;
  for (Seat* seat = team->seats; seat != team->end(); ++seat) change(seat->state, kReady, kAsleep);
  bool failed = body(0, &team->group, data) != 0;
  for (Seat* seat = team->seats; seat != team->end(); ++seat)
    if (take(seat, kFree)) failed |= body(seat->task, &team->group, data) != 0;
  for (Seat* seat = team->seats; seat != team->end(); ++seat) {
    wait(seat->state, kRunning, kAwaited);
    failed |= raise(seat);
  }
  team->busy = false;
  return failed ? -1 : 0;
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

// End the workers of a team that nobody uses any more.
EXPORTED void sala_team_close(void* handle) {
  Team* team = static_cast<Team*>(handle);
  for (Seat* seat = team->seats; seat != team->end(); ++seat) change(seat->state, kClosed, kAsleep);
  team->leave();
}

// Start the workers of a team of `threads`, its caller counted; null if the system refuses.
EXPORTED void* sala_team_open(int threads) {
  void* memory;
  if (posix_memalign(&memory, alignof(Team), sizeof(Team) + (threads - 1) * sizeof(Seat)))
    return nullptr;
  Team* team = new (memory) Team{1};
  sigset_t every, before;
  sigfillset(&every);
  sigprocmask(SIG_SETMASK, &every, &before);  // signals are for the program's own threads
  while (team->threads < threads) {
    Seat* seat = new (team->end()) Seat{team, team->threads};
    team->owners.fetch_add(1, std::memory_order_relaxed);
    if (!start(seat)) break;
    ++team->threads;
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
  team->group.tasks = threads;
  if (team->threads == threads) return team;
  team->leave();
  sala_team_close(team);
  return nullptr;
}

// Launch what this thread calls on a team, which no other thread enters.
EXPORTED void sala_team_enter(void* handle) {
  current = static_cast<Team*>(handle);
  Launch* place = &__TVMBackendParallelLaunch;
  if (place && *place != launch) *place = launch;
}
