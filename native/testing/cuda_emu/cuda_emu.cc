#include "testing/cuda_emu/cuda_emu.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "common/error.h"

#if !defined(__x86_64__)
#error "the emulator switches stacks as x86-64 does"
#endif

namespace llava::cuda_emu {

Fiber* current = nullptr;
dim3 block_index, block_dim, grid_dim;
std::byte* shared_memory = nullptr;

namespace {

constexpr int kMostThreads = 1024;
constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kMostShared = 227 << 10;  // of a block on sm_90
constexpr int kMostCopies = 256;           // of a thread that are under way

// ---- switching between fibers

// Saves what a called function must keep on the stack, and goes on where the other stack was left.
__attribute__((naked, noinline)) void switch_stacks(void** /*save: rdi*/, void* /*to: rsi*/) {
  asm volatile(
      "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\nmovq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
      "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret");
}

// An access of a lane to global memory: the n-th of one at a place belongs to the n-th of the others there.
struct Access {
  const char* file;
  unsigned line;
  uintptr_t address;
  size_t bytes;
};

struct Machine {
  Machine() {
    stacks = static_cast<std::byte*>(mmap(nullptr, kStackBytes * kMostThreads, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t room = (kMostShared + page - 1) / page * page;
    auto* mapping = static_cast<std::byte*>(
        mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    shared_end = mapping + room;
    mprotect(shared_end, page, PROT_NONE);
  }

  std::mutex mutex;
  Fiber fibers[kMostThreads];
  Warp warps[kMostThreads / 32];
  int order[kMostThreads];     // of running
  int place_of[kMostThreads];  // of a fiber in order
  PendingCopy copies[kMostThreads][kMostCopies];
  int group_of[kMostThreads][kMostCopies];
  std::byte* stacks = nullptr;
  std::byte* shared_end = nullptr;
  void* host = nullptr;  // the stack that launched
  int threads = 0, live = 0;
  uint32_t generation = 0, arrived = 0;
  unsigned line = 0;
  const char* failure = nullptr;
  Schedule* schedule = nullptr;
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;
  std::vector<std::vector<Access>> logs;  // of each thread
};

Machine& machine() {
  static auto* m = new Machine;  // its stacks are never given back
  return *m;
}

Counters counted;
bool counts_accesses = false;
uint64_t most_blocks = 0;  // of a launch that run; 0: all

uint64_t next_random(Schedule& s) {  // SplitMix64
  uint64_t z = s.state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

bool runs(const Fiber& f) { return !f.done && (f.waits_for == nullptr || *f.waits_for != f.waits_at); }

int number_of(const Fiber* f) { return static_cast<int>(f - machine().fibers); }

// The next fiber that can run, in the schedule's order after this one; null where all wait.
Fiber* next_after(int thread) {
  Machine& m = machine();
  int place = m.place_of[thread];
  if (m.schedule->order == Order::kRandom)
    place = static_cast<int>(next_random(*m.schedule) % static_cast<uint64_t>(m.threads));
  for (int i = 0; i < m.threads; i++) {
    if (++place >= m.threads) place = 0;
    Fiber& f = m.fibers[m.order[place]];
    if (runs(f)) return &f;
  }
  return nullptr;
}

void leave_for(Fiber* next) {
  Machine& m = machine();
  Fiber* const self = current;
  if (next == self) return;
  if (next == nullptr) {
    switch_stacks(&self->stack_pointer, m.host);
  } else {
    current = next;
    switch_stacks(&self->stack_pointer, next->stack_pointer);
  }
}

void wait_while(const uint32_t& generation, uint32_t value) {
  current->waits_for = &generation;
  current->waits_at = value;
  Fiber* next = next_after(number_of(current));
  if (next == nullptr)
    fail("threads that wait for each other for ever: a barrier or a collective that not all of them reach");
  leave_for(next);
  current->waits_for = nullptr;
}

void let_barrier_go(Machine& m) {
  if (m.live > 0 && m.arrived >= static_cast<uint32_t>(m.live)) {
    m.arrived = 0;
    m.generation++;
  }
}

// One iteration is one thread of one block; fibers are kept.
void fiber_main() {
  for (;;) {
    Machine& m = machine();
    m.entry(m.argument);
    Fiber& f = *current;
    wait_for_copies(0);
    f.done = true;
    m.live--;
    f.warp->left++;
    if (f.warp->arrived > 0) fail("a lane that ended while its warp gathers");
    let_barrier_go(m);
    Fiber* next = m.live > 0 ? next_after(number_of(&f)) : nullptr;
    if (next == nullptr && m.live > 0)
      m.failure = "threads that wait for each other for ever: a barrier that not all of them reach";
    leave_for(next);
  }
}

void prepare(Fiber& f, std::byte* stack) {
  void** top = reinterpret_cast<void**>(stack + kStackBytes) - 8;
  std::fill_n(top, 8, nullptr);
  top[6] = reinterpret_cast<void*>(&fiber_main);
  f.stack_pointer = top;
}

void arrange(Machine& m) {
  std::iota(m.order, m.order + m.threads, 0);
  if (m.schedule->order == Order::kReverse) std::reverse(m.order, m.order + m.threads);
  if (m.schedule->order == Order::kRandom) {
    for (int i = m.threads - 1; i > 0; i--)
      std::swap(m.order[i], m.order[next_random(*m.schedule) % static_cast<uint64_t>(i + 1)]);
  }
  for (int i = 0; i < m.threads; i++) m.place_of[m.order[i]] = i;
}

// Sectors that the warps of a block have moved: those of the lanes' n-th accesses at one place, together.
void count_sectors(Machine& m) {
  std::set<uintptr_t> of_block;
  for (int first = 0; first < m.threads; first += 32) {
    std::map<std::tuple<const char*, unsigned, uint64_t>, std::set<uintptr_t>> touched;
    for (int t = first; t < first + 32; t++) {
      std::map<std::pair<const char*, unsigned>, uint64_t> times;
      for (const Access& a : m.logs[static_cast<size_t>(t)]) {
        auto& sectors = touched[{a.file, a.line, times[{a.file, a.line}]++}];
        for (uintptr_t s = a.address / 32; s <= (a.address + a.bytes - 1) / 32; s++) sectors.insert(s);
      }
      m.logs[static_cast<size_t>(t)].clear();
    }
    for (const auto& [place, sectors] : touched) {
      counted.sectors += sectors.size();
      of_block.insert(sectors.begin(), sectors.end());
    }
  }
  counted.moved += of_block.size();
}

void run_block(Machine& m, size_t shared_bytes) {
  m.live = m.threads;
  m.arrived = 0;
  m.generation = 0;
  shared_memory = m.shared_end - (shared_bytes + 15) / 16 * 16;
  std::memset(shared_memory, 0xFF, static_cast<size_t>(m.shared_end - shared_memory));
  for (int w = 0; w * 32 < m.threads; w++) m.warps[w].generation = m.warps[w].arrived = m.warps[w].left = 0;
  for (int i = 0; i < m.threads; i++) {
    Fiber& f = m.fibers[i];
    const auto n = static_cast<unsigned>(i);
    f.index = {n % block_dim.x, n / block_dim.x % block_dim.y, n / (block_dim.x * block_dim.y)};
    f.warp = &m.warps[i / 32];
    f.lane = i % 32;
    f.done = false;
    f.waits_for = nullptr;
    f.copies = f.groups = 0;
  }
  arrange(m);
  current = &m.fibers[m.order[0]];
  switch_stacks(&m.host, current->stack_pointer);
  current = nullptr;
  counted.blocks++;
  if (counts_accesses) count_sectors(m);
}

// The machine and its memory, for a launch. A fault that the conformance suite catches jumps out of a launch: then this
// thread has both already.
class Held {
 public:
  explicit Held(std::mutex& mutex) : mutex_(mutex) {
    if (holds_) return;
    mutex_.lock();
    holds_ = true;
    open_memory();
  }
  ~Held() {
    close_memory();
    holds_ = false;
    mutex_.unlock();
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  static inline thread_local bool holds_ = false;
  std::mutex& mutex_;
};

}  // namespace

Counters& counters() { return counted; }
void count_accesses(bool on) { counts_accesses = on; }
void sample_blocks(uint64_t most) { most_blocks = most; }

void fail(const char* what) {
  Machine& m = machine();
  m.failure = what;
  void* nowhere = nullptr;
  switch_stacks(&nowhere, m.host);
  __builtin_unreachable();
}

void sync_threads(unsigned line) {
  Machine& m = machine();
  if (m.arrived > 0 && m.line != line) fail("threads of a block at two different barriers");
  m.line = line;
  const uint32_t before = m.generation;
  m.arrived++;
  let_barrier_go(m);
  if (m.generation == before) wait_while(m.generation, before);
}

Slots gather(const void* value, size_t bytes, const void* place, void (*last)(Slots)) {
  Warp& w = *current->warp;
  if (w.left > 0) fail("a collective of a warp of which lanes have ended");
  if (w.arrived > 0 && w.place != place) fail("lanes of a warp at two different collectives");
  w.place = place;
  const uint32_t before = w.generation;
  const Slots slots = w.slots[before % 2];
  std::memcpy(slots[current->lane], value, bytes);
  if (++w.arrived == 32) {
    if (last != nullptr) last(slots);
    w.arrived = 0;
    w.generation++;
  } else {
    wait_while(w.generation, before);
  }
  return slots;
}

void copy_async(void* to, const void* from, int bytes, int zeros) {
  Machine& m = machine();
  const int thread = number_of(current);
  if (current->copies == kMostCopies) fail("more copies under way than the emulator holds");
  m.copies[thread][current->copies] = {to, from, bytes, zeros};
  m.group_of[thread][current->copies++] = current->groups;
}

void commit_copies() { current->groups++; }

// In the order of their groups; of a group, last to first.
void wait_for_copies(int groups_left) {
  Machine& m = machine();
  const int thread = number_of(current), done = current->groups - groups_left;
  int kept = 0, finished = 0;
  while (finished < current->copies && m.group_of[thread][finished] < done) finished++;
  for (int i = finished - 1; i >= 0; i--) {
    const PendingCopy& copy = m.copies[thread][i];
    if (copy.bytes > 0) std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    std::memset(static_cast<std::byte*>(copy.to) + copy.bytes, 0, static_cast<size_t>(copy.zeros));
  }
  for (int i = finished; i < current->copies; i++, kept++) {
    m.copies[thread][kept] = m.copies[thread][i];
    m.group_of[thread][kept] = m.group_of[thread][i];
  }
  current->copies = kept;
}

void note_access(const void* address, size_t bytes, const char* file, unsigned line) {
  counted.bytes += bytes;
  if (counts_accesses)
    machine().logs[static_cast<size_t>(number_of(current))].push_back(
        {file, line, reinterpret_cast<uintptr_t>(address), bytes});
}

void note_shared(uint64_t wavefronts, uint64_t least) {
  counted.shared += least;
  counted.conflicts += wavefronts - least;
}

void run(Schedule& schedule, dim3 grid, dim3 block, size_t shared_bytes, void (*entry)(void*), void* argument) {
  Machine& m = machine();
  const Held held(m.mutex);
  m.threads = static_cast<int>(block.x * block.y * block.z);
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (m.threads < 32 || m.threads > kMostThreads || m.threads % 32 != 0 || shared_bytes > kMostShared || blocks == 0 ||
      grid.y > 65535 || grid.z > 65535)
    throw Error(ErrorCode::kDeviceFailed, "a launch of a shape that no device takes");
  for (int i = 0; i < m.threads; i++) prepare(m.fibers[i], m.stacks + kStackBytes * static_cast<size_t>(i));
  m.logs.resize(kMostThreads);
  m.schedule = &schedule;
  m.entry = entry;
  m.argument = argument;
  m.failure = nullptr;
  block_dim = block;
  grid_dim = grid;
  counted.launches++;
  const uint64_t stride = 2 * (next_random(schedule) % (blocks + 1)) + 1;
  const uint64_t running = most_blocks > 0 && blocks > most_blocks ? most_blocks : blocks;
  const Counters before = counted;
  for (uint64_t i = 0; i < running; i++) {
    uint64_t at = running < blocks ? (i * blocks / running + i) % blocks : i;  // + i: not all of one row of the grid
    if (schedule.order == Order::kReverse) at = blocks - 1 - i;
    if (schedule.order == Order::kRandom && std::gcd(stride, blocks) == 1) at = i * (stride % blocks) % blocks;
    block_index = {static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                   static_cast<unsigned>(at / grid.x / grid.y)};
    run_block(m, shared_bytes);
    if (m.failure != nullptr) throw Error(ErrorCode::kDeviceFailed, std::string("a kernel failed: ") + m.failure);
  }
  if (running == blocks) return;
  const auto whole = [&](uint64_t Counters::* count) {
    const double counts = static_cast<double>(counted.*count - before.*count);
    counted.*count =
        before.*count + static_cast<uint64_t>(counts * static_cast<double>(blocks) / static_cast<double>(running));
  };
  for (const auto count : {&Counters::blocks, &Counters::mma, &Counters::bytes, &Counters::sectors, &Counters::moved,
                           &Counters::shared, &Counters::conflicts})
    whole(count);
}

}  // namespace llava::cuda_emu
