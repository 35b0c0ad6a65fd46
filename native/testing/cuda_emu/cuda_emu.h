// CUDA C++ on the CPU: what native/cuda needs of it. The kernels' own text is compiled by a plain C++ compiler, and
// every thread of a block is a fiber.
//   Threads of a block run one after another until they wait; blocks one after another. The order of both is a
//   schedule: forward, reverse or random, so that a missing barrier shows as a different result.
//   __syncthreads parks a thread until all live threads of its block stand at the same line; a collective of a warp
//   until all 32 lanes do. What can never go on is an error, and so is a lane that is missing.
//   Shared memory is NaN when a block begins, ends where a page without access begins, and cp.async fills it as late as
//   it may: when its group is waited for. Global memory is the far back end's: open while a kernel or a copy runs.
//   It proves indexing, layouts and barriers; neither speed nor the PTX that mma.cuh and smem.cuh have on a device.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned columns = 1, unsigned rows = 1, unsigned planes = 1) : x(columns), y(rows), z(planes) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

namespace llava::cuda_emu {

enum class Order : uint8_t { kForward, kReverse, kRandom };

// A stream of launches: they run at once, each in this order.
struct Schedule {
  Order order = Order::kForward;
  uint64_t state = 1;  // of random ones
};

// What launches have done since they were last cleared.
struct Counters {
  uint64_t launches = 0, blocks = 0, mma = 0;
  uint64_t submissions = 0;  // by the host: launches, and graphs of them
  uint64_t bytes = 0;        // asked of global memory by ld, st and cp.async
  uint64_t sectors = 0;      // of 32 bytes that these accesses touch, a warp's at a time
  uint64_t moved = 0;        // sectors that a block touches, each once: what its L1 asks L2 for at least
  uint64_t shared = 0;       // wavefronts of ldmatrix and of st_shared without conflicts
  uint64_t conflicts = 0;    // and those that conflicts add
};
Counters& counters();
void count_accesses(bool on);  // sectors and conflicts cost time
// Of each launch at most so many blocks run, spread evenly, and count for all: for counts alone, as results are not
// whole. 0: all run.
void sample_blocks(uint64_t most);

struct Warp {
  uint32_t generation = 0, arrived = 0, left = 0;
  const void* place = nullptr;  // of the collective that is gathering
  alignas(16) std::byte slots[2][32][48];
};

struct PendingCopy {
  void* to;
  const void* from;
  int bytes, zeros;
};

struct Fiber {
  void* stack_pointer = nullptr;
  dim3 index{};
  Warp* warp = nullptr;
  int lane = 0;
  bool done = true;
  const uint32_t* waits_for = nullptr;  // runs again once this is another than
  uint32_t waits_at = 0;
  int copies = 0, groups = 0;  // of cp.async that are under way; see smem.cuh
};

extern Fiber* current;
extern dim3 block_index, block_dim, grid_dim;
extern std::byte* shared_memory;

// What a kernel does that no device would: ends the launch, which then throws kDeviceFailed.
[[noreturn]] void fail(const char* what);
void sync_threads(unsigned line);
// Waits for the other lanes; the last one to come runs `last(slots)` before any goes on.
// Returns all lanes' values, which stay until the collective after the next.
using Slots = std::byte (*)[48];
Slots gather(const void* value, size_t bytes, const void* place, void (*last)(Slots) = nullptr);

void copy_async(void* to, const void* from, int bytes, int zeros);
void commit_copies();
void wait_for_copies(int groups_left);

void note_access(const void* address, size_t bytes, const char* file, unsigned line);
void note_shared(uint64_t wavefronts, uint64_t least);

// Global memory, for as long as a launch runs (emulated_device.cc).
void open_memory();
void close_memory();

void run(Schedule& schedule, dim3 grid, dim3 block, size_t shared_bytes, void (*entry)(void*), void* argument);

template <class Kernel>
void launch(Schedule& schedule, dim3 grid, dim3 block, size_t shared_bytes, Kernel kernel) {
  run(schedule, grid, block, shared_bytes, [](void* k) { (*static_cast<Kernel*>(k))(); }, &kernel);
}

// Names a place of the source for collectives, one for each call.
template <class T>
T from_lane(T value, int source, const void* place) {
  static_assert(sizeof(T) <= 48 && std::is_trivially_copyable_v<T>);
  const Slots slots = gather(&value, sizeof value, place);
  T out;
  std::memcpy(&out, slots[source & 31], sizeof out);
  return out;
}

}  // namespace llava::cuda_emu

#define threadIdx (::llava::cuda_emu::current->index)
#define blockIdx (::llava::cuda_emu::block_index)
#define blockDim (::llava::cuda_emu::block_dim)
#define gridDim (::llava::cuda_emu::grid_dim)

inline void __syncthreads(unsigned line = __builtin_LINE()) { ::llava::cuda_emu::sync_threads(line); }
inline void __syncwarp(unsigned mask = ~0u) {
  static const char place = 0;
  if (mask != ~0u) ::llava::cuda_emu::fail("a collective of part of a warp");
  ::llava::cuda_emu::gather(&mask, sizeof mask, &place);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  static const char place = 0;
  if (mask != ~0u) ::llava::cuda_emu::fail("a collective of part of a warp");
  return ::llava::cuda_emu::from_lane(value, source, &place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  static const char place = 0;
  if (mask != ~0u) ::llava::cuda_emu::fail("a collective of part of a warp");
  return ::llava::cuda_emu::from_lane(value, ::llava::cuda_emu::current->lane ^ bits, &place);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  static const char place = 0;
  if (mask != ~0u) ::llava::cuda_emu::fail("a collective of part of a warp");
  const ::llava::cuda_emu::Slots slots = ::llava::cuda_emu::gather(&predicate, sizeof predicate, &place);
  unsigned out = 0;
  for (int lane = 0; lane < 32; lane++) {
    int of_lane;
    std::memcpy(&of_lane, slots[lane], sizeof of_lane);
    out |= (of_lane != 0 ? 1u : 0u) << lane;
  }
  return out;
}
// Threads of a block run one at a time.
template <class T>
T atomicAdd(T* to, T value) {
  const T before = *to;
  *to += value;
  return before;
}
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; i++) sum += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
  return sum;
}
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}
