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

// Where a device has not so much, the launch fails, and synchronize() says so.
void allow_shared_memory(const void* kernel, size_t bytes) {
  (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

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
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  staging_ = new Staging;
  const cudaError_t error = cudaMallocHost(&staging_->memory, Staging::kBytes);
  if (error != cudaSuccess) {
    (void)cudaStreamDestroy(stream_);
    delete staging_;
    check(error, "cudaMallocHost");
  }
}

Card::~Card() {
  int before = 0;
  (void)cudaGetDevice(&before);
  (void)cudaSetDevice(index_);
  (void)cudaStreamSynchronize(stream_);
  (void)cudaStreamDestroy(stream_);
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
  staging_->note(cudaMemcpyAsync(to, from, nbytes, cudaMemcpyHostToDevice, stream_));
}

void Card::copy_out(void* to, const void* from, uint64_t nbytes) {
  if (nbytes == 0) return;
  const OnCard on_card(index_);
  void* at = to;
  if (nbytes <= Staging::kMostOfACopy) {
    at = staged(nbytes);
    staging_->arrivals.push_back({to, static_cast<std::byte*>(at), nbytes});
  }
  staging_->note(cudaMemcpyAsync(at, from, nbytes, cudaMemcpyDeviceToHost, stream_));
}

void Card::copy(void* to, const void* from, uint64_t nbytes) {
  if (nbytes == 0) return;
  const OnCard on_card(index_);
  staging_->note(cudaMemcpyAsync(to, from, nbytes, cudaMemcpyDeviceToDevice, stream_));
}

void Card::wait() noexcept {
  make_current();
  staging_->note(cudaGetLastError());  // of launches
  staging_->note(cudaStreamSynchronize(stream_));
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
  check(cudaStreamSynchronize(stream_), "a kernel");
  check(cudaMemcpy(to, from, nbytes, cudaMemcpyDeviceToHost), "a copy from the device");
}

double Card::seconds_of(void (*work)(void* context), void* context) {
  const OnCard on_card(index_);
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  check(cudaEventRecord(begin, stream_), "cudaEventRecord");
  work(context);
  check(cudaEventRecord(end, stream_), "cudaEventRecord");
  synchronize();
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
  (void)cudaEventDestroy(begin);
  (void)cudaEventDestroy(end);
  return static_cast<double>(milliseconds) / 1e3;
}

}  // namespace llava::cuda
