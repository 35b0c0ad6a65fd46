// Launches of a stream, which go to the device in runs: a run of kernels that has come before goes as one CUDA graph,
// whose nodes are set to the arguments of now where they differ. So a decoded token, whose passes are all alike, costs
// a few submissions and not one for each kernel.
//   A run ends after kMostOfRun launches, before a copy, and where somebody waits. A graph belongs to a place in the
//   work between two synchronisations, and to the kernels of its run in order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <cuda_emu.h>
#endif

namespace llava::cuda {

#ifdef __CUDACC__
using NativeStream = cudaStream_t;
#else
using NativeStream = cuda_emu::Schedule*;
#endif

// kernel<<<grid, block, shared bytes>>>(parameters)
struct KernelLaunch {
  static constexpr size_t kMostBytes = 768, kMostParameters = 16;

  const void* kernel = nullptr;
  // Runs one thread of it: for the emulator, where a kernel is a function.
  void (*call)(const KernelLaunch&) = nullptr;
  dim3 grid, block;
  size_t shared_bytes = 0;
  size_t count = 0, nbytes = 0;  // of parameters
  uint32_t at[kMostParameters] = {};
  alignas(16) std::byte parameters[kMostBytes];

  template <class T>
  void add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 16);
    nbytes = (nbytes + alignof(T) - 1) / alignof(T) * alignof(T);
    at[count++] = static_cast<uint32_t>(nbytes);
    std::memcpy(parameters + nbytes, &value, sizeof value);
    nbytes += sizeof value;
  }
  template <class T>
  const T& parameter(size_t i) const {
    return *std::launder(reinterpret_cast<const T*>(parameters + at[i]));
  }
  bool has_kernel_of(const KernelLaunch& other) const {
    return kernel == other.kernel && block.x == other.block.x && shared_bytes == other.shared_bytes;
  }
  bool equals(const KernelLaunch& other) const {
    return has_kernel_of(other) && grid.x == other.grid.x && grid.y == other.grid.y && grid.z == other.grid.z &&
           nbytes == other.nbytes && std::memcmp(parameters, other.parameters, nbytes) == 0;
  }
};

// What the device does with them: device.cu, or testing/cuda_emu/emulated_device.cc. Errors are kept for
// Card::synchronize().
struct Graph;
struct GraphDeleter {
  void operator()(Graph* graph) const;
};
void submit(NativeStream stream, const KernelLaunch& launch);
std::unique_ptr<Graph, GraphDeleter> make_graph(std::span<const KernelLaunch> run);  // null where it fails
void set_node(Graph& graph, size_t index, const KernelLaunch& launch);
void submit(NativeStream stream, Graph& graph);

class LaunchQueue {
 public:
  void put(const KernelLaunch& launch);  // from any thread, as is flush()
  void flush();
  // What follows begins anew, as the first run after a synchronisation.
  void begin();
  NativeStream native{};

 private:
  static constexpr size_t kMostOfRun = 64, kMostGraphs = 128, kMostSeen = 1024;
  struct Kept {
    size_t place;                   // among the runs after a synchronisation
    std::vector<KernelLaunch> run;  // as the graph has it
    std::unique_ptr<Graph, GraphDeleter> graph;
  };
  void flush_locked();
  bool is_seen(uint64_t name);
  Kept* kept_for(std::span<const KernelLaunch> run);

  std::mutex mutex_;
  std::vector<KernelLaunch> waiting_, run_;
  size_t place_ = 0;
  std::vector<Kept> kept_;
  std::vector<uint64_t> seen_;  // names of runs that came once
};

}  // namespace llava::cuda
