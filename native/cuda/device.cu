// The CUDA runtime, in one file: memory, copies, streams, and what its errors mean here.
#include "cuda/device.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "common/error.h"

namespace llava::cuda {

namespace {

// An allocation that finds no room leaves everything as it was; any other error is the device's.
void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  const bool no_room = error == cudaErrorMemoryAllocation;
  (void)cudaGetLastError();  // of those that do not last
  throw Error(no_room ? ErrorCode::kOutOfMemory : ErrorCode::kDeviceFailed,
              std::string(no_room ? "out of device memory: " : "the CUDA device failed: ") + what + ": " +
                  cudaGetErrorString(error));
}

__global__ void probe_kernel() {}

// Makes a card the calling thread's for as long as it lives.
class OnCard {
 public:
  explicit OnCard(int index) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ != index) check(cudaSetDevice(index), "cudaSetDevice");
  }
  ~OnCard() { (void)cudaSetDevice(before_); }
  OnCard(const OnCard&) = delete;
  OnCard& operator=(const OnCard&) = delete;

 private:
  int before_ = 0;
};

}  // namespace

struct Graph {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  std::vector<cudaGraphNode_t> nodes;
};

namespace {

// A launch as the runtime takes it. Where a device has not so much shared memory, it fails, and synchronize() says so.
class Parameters {
 public:
  explicit Parameters(const KernelLaunch& launch) {
    constexpr size_t kWithoutAsking = 48 << 10;
    if (launch.shared_bytes > kWithoutAsking)
      (void)cudaFuncSetAttribute(launch.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(launch.shared_bytes));
    for (size_t i = 0; i < launch.count; i++) of_kernel_[i] = const_cast<std::byte*>(launch.parameters) + launch.at[i];
    node_.func = const_cast<void*>(launch.kernel);
    node_.gridDim = launch.grid;
    node_.blockDim = launch.block;
    node_.sharedMemBytes = static_cast<unsigned>(launch.shared_bytes);
    node_.kernelParams = of_kernel_;
  }
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;
  void** of_kernel() { return of_kernel_; }
  const cudaKernelNodeParams* node() const { return &node_; }

 private:
  void* of_kernel_[KernelLaunch::kMostParameters];
  cudaKernelNodeParams node_{};
};

}  // namespace

void GraphDeleter::operator()(Graph* graph) const {
  if (graph->ready != nullptr) (void)cudaGraphExecDestroy(graph->ready);
  if (graph->graph != nullptr) (void)cudaGraphDestroy(graph->graph);
  delete graph;
}

void submit(NativeStream stream, const KernelLaunch& launch) {
  Parameters parameters(launch);
  (void)cudaLaunchKernel(launch.kernel, launch.grid, launch.block, parameters.of_kernel(), launch.shared_bytes, stream);
}

std::unique_ptr<Graph, GraphDeleter> make_graph(std::span<const KernelLaunch> run) {
  std::unique_ptr<Graph, GraphDeleter> made(new Graph);
  bool fails = cudaGraphCreate(&made->graph, 0) != cudaSuccess;
  for (const KernelLaunch& launch : run) {
    if (fails) break;
    const Parameters parameters(launch);
    cudaGraphNode_t node = nullptr;
    const cudaGraphNode_t* const before = made->nodes.empty() ? nullptr : &made->nodes.back();
    fails = cudaGraphAddKernelNode(&node, made->graph, before, made->nodes.empty() ? 0 : 1, parameters.node()) !=
            cudaSuccess;
    made->nodes.push_back(node);
  }
  if (fails || cudaGraphInstantiate(&made->ready, made->graph, 0) != cudaSuccess) {
    (void)cudaGetLastError();  // launched one by one, it may do
    return nullptr;
  }
  return made;
}

void set_node(Graph& graph, size_t index, const KernelLaunch& launch) {
  const Parameters parameters(launch);
  (void)cudaGraphExecKernelNodeSetParams(graph.ready, graph.nodes[index], parameters.node());
}

void submit(NativeStream stream, Graph& graph) { (void)cudaGraphLaunch(graph.ready, stream); }

Cards cards() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return {count, true, {}};
  (void)cudaGetLastError();
  return {0, error == cudaErrorNoDevice, cudaGetErrorString(error)};
}

DeviceProperties device_properties(int device) {
  const OnCard on_card(device);
  cudaDeviceProp found{};
  check(cudaGetDeviceProperties(&found, device), "cudaGetDeviceProperties");
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return {found.name, "sm_" + std::to_string(found.major) + std::to_string(found.minor), found.multiProcessorCount,
          total, free};
}

bool has_code_for(int device) {
  const OnCard on_card(device);
  cudaFuncAttributes attributes{};
  const bool found = cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess;
  (void)cudaGetLastError();
  return found;
}

// Pinned memory through which small copies go, so that the host does not wait for them. It is used from its beginning
// again once the stream has been waited for.
struct Card::Staging {
  static constexpr uint64_t kBytes = uint64_t{16} << 20, kMostOfACopy = kBytes / 4;
  struct Arrival {
    void* to;
    const std::byte* from;
    uint64_t nbytes;
  };

  std::byte* memory = nullptr;
  uint64_t used = 0;
  std::vector<Arrival> arrivals;     // copies out that the host has not seen yet
  cudaError_t failed = cudaSuccess;  // the first since synchronize() threw one

  void note(cudaError_t error) {
    if (failed == cudaSuccess) failed = error;
  }
};

Card::Card(int index) : index_(index), properties_(device_properties(index)) {
  const OnCard on_card(index);
  check(cudaStreamCreateWithFlags(&queue_->native, cudaStreamNonBlocking), "cudaStreamCreate");
  staging_ = new Staging;
  const cudaError_t error = cudaMallocHost(&staging_->memory, Staging::kBytes);
  if (error != cudaSuccess) {
    (void)cudaStreamDestroy(queue_->native);
    delete staging_;
    check(error, "cudaMallocHost");
  }
}

Card::~Card() {
  int before = 0;
  (void)cudaGetDevice(&before);
  (void)cudaSetDevice(index_);
  queue_->flush();
  (void)cudaStreamSynchronize(queue_->native);
  const NativeStream stream = queue_->native;
  queue_.reset();  // its graphs first
  (void)cudaStreamDestroy(stream);
  (void)cudaFreeHost(staging_->memory);
  (void)cudaSetDevice(before);
  delete staging_;
}

void Card::make_current() const { (void)cudaSetDevice(index_); }

uint64_t Card::free_bytes() const {
  const OnCard on_card(index_);
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

void* Card::allocate(uint64_t nbytes) {
  const OnCard on_card(index_);
  void* memory = nullptr;
  check(cudaMalloc(&memory, std::max<uint64_t>(nbytes, 1)), "cudaMalloc");
  return memory;
}

void Card::free(void* memory) noexcept {
  if (memory == nullptr) return;
  int before = 0;
  (void)cudaGetDevice(&before);
  (void)cudaSetDevice(index_);
  queue_->flush();  // what was put on the stream may use it
  (void)cudaFree(memory);
  (void)cudaSetDevice(before);
}

// Room in the staging memory, after the stream has been waited for where there is none left.
void* Card::staged(uint64_t nbytes) {
  if (staging_->used + nbytes > Staging::kBytes) wait();
  std::byte* const at = staging_->memory + staging_->used;
  staging_->used += (nbytes + 63) / 64 * 64;
  return at;
}

void Card::copy_in(void* to, const void* from, uint64_t nbytes) {
  if (nbytes == 0) return;
  const OnCard on_card(index_);
  if (nbytes <= Staging::kMostOfACopy) {
    void* const at = staged(nbytes);
    std::memcpy(at, from, nbytes);
    from = at;
  }  // a larger one returns once the runtime has staged it itself: `from` is pageable
  queue_->flush();
  staging_->note(cudaMemcpyAsync(to, from, nbytes, cudaMemcpyHostToDevice, queue_->native));
}

void Card::copy_out(void* to, const void* from, uint64_t nbytes) {
  if (nbytes == 0) return;
  const OnCard on_card(index_);
  void* at = to;
  if (nbytes <= Staging::kMostOfACopy) {
    at = staged(nbytes);
    staging_->arrivals.push_back({to, static_cast<std::byte*>(at), nbytes});
  }
  queue_->flush();
  staging_->note(cudaMemcpyAsync(at, from, nbytes, cudaMemcpyDeviceToHost, queue_->native));
}

void Card::copy(void* to, const void* from, uint64_t nbytes) {
  if (nbytes == 0) return;
  const OnCard on_card(index_);
  queue_->flush();
  staging_->note(cudaMemcpyAsync(to, from, nbytes, cudaMemcpyDeviceToDevice, queue_->native));
}

void Card::wait() noexcept {
  make_current();
  queue_->begin();
  staging_->note(cudaGetLastError());  // of launches
  staging_->note(cudaStreamSynchronize(queue_->native));
  for (const Staging::Arrival& arrival : staging_->arrivals) std::memcpy(arrival.to, arrival.from, arrival.nbytes);
  staging_->arrivals.clear();
  staging_->used = 0;
}

void Card::synchronize() {
  const OnCard on_card(index_);
  wait();
  check(std::exchange(staging_->failed, cudaSuccess), "a kernel or a copy");
}

void Card::read(void* to, const void* from, uint64_t nbytes) {
  if (nbytes == 0) return;
  const OnCard on_card(index_);
  queue_->flush();
  check(cudaStreamSynchronize(queue_->native), "a kernel");
  check(cudaMemcpy(to, from, nbytes, cudaMemcpyDeviceToHost), "a copy from the device");
}

double Card::seconds_of(void (*work)(void* context), void* context) {
  const OnCard on_card(index_);
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  queue_->flush();
  check(cudaEventRecord(begin, queue_->native), "cudaEventRecord");
  work(context);
  queue_->flush();
  check(cudaEventRecord(end, queue_->native), "cudaEventRecord");
  synchronize();
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
  (void)cudaEventDestroy(begin);
  (void)cudaEventDestroy(end);
  return static_cast<double>(milliseconds) / 1e3;
}

}  // namespace llava::cuda
