// A block's shared memory, handed out piece by piece, and copies into it that run beside the work (cp.async).
#pragma once
#include "cuda/platform.cuh"

namespace llava::cuda {

constexpr size_t kSharedAlignment = 128;  // a swizzled row begins at a bank's first byte
constexpr size_t shared_bytes_of(size_t bytes) {
  return (bytes + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment;
}

class SharedMemory {
 public:
  __device__ SharedMemory() {
#ifdef __CUDACC__
    extern __shared__ __align__(128) unsigned char memory[];
    at_ = memory;
#else
    at_ = reinterpret_cast<unsigned char*>(cuda_emu::shared_memory);
#endif
  }
  template <class T>
  __device__ __forceinline__ T* take(int count) {
    T* const taken = reinterpret_cast<T*>(at_);
    at_ += shared_bytes_of(static_cast<size_t>(count) * sizeof(T));
    return taken;
  }

 private:
  unsigned char* at_;
};

// 16 bytes to shared memory, of which the first `bytes` are read and the others become zero; both ends are 16-byte
// aligned. They are there for this thread after wait_for_groups, for others after a barrier too.
__device__ __forceinline__ void copy_16_async(void* to, const void* from, int bytes) {
#ifdef __CUDACC__
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
#else
  if (bytes > 0) cuda_emu::note_access(from, static_cast<size_t>(bytes), __FILE__, __LINE__);
  cuda_emu::copy_async(to, from, bytes, 16 - bytes);
#endif
}
__device__ __forceinline__ void commit_group() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  cuda_emu::commit_copies();
#endif
}
// All but the last `left` groups of this thread have arrived.
template <int left>
__device__ __forceinline__ void wait_for_groups() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#else
  cuda_emu::wait_for_copies(left);
#endif
}

}  // namespace llava::cuda
