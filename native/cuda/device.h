// A CUDA device as the host sees it: memory, copies, a stream. Everything that the CUDA runtime does for this back end
// but launches is behind these functions; device.cu is them on a device, testing/cuda_emu/emulated_device.cc without
// one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/platform.cuh"

namespace llava::cuda {

struct DeviceProperties {
  std::string name;        // such as "NVIDIA H200"
  std::string capability;  // such as "sm_90"
  int multiprocessors = 0;
  uint64_t total_bytes = 0, free_bytes = 0;
};

struct Cards {
  int count = 0;
  bool has_driver = false;
  std::string detail;  // what the driver says where there is none
};
Cards cards();
DeviceProperties device_properties(int device);
// Whether this library holds code that the device runs.
bool has_code_for(int device);

// A device's stream and memory. What fails there is kept until synchronize() throws it: kDeviceFailed.
class Card {
 public:
  explicit Card(int index);
  ~Card();
  Card(const Card&) = delete;
  Card& operator=(const Card&) = delete;

  StreamHandle stream() const { return queue_.get(); }
  // Launches of the calling thread go to this card.
  void make_current() const;
  const DeviceProperties& properties() const { return properties_; }
  uint64_t free_bytes() const;

  void* allocate(uint64_t nbytes);  // 256-byte aligned; from any thread; kOutOfMemory
  void free(void* memory) noexcept;
  // `from` may be used again after the call.
  void copy_in(void* to, const void* from, uint64_t nbytes);
  // `to` is written once the stream is synchronised.
  void copy_out(void* to, const void* from, uint64_t nbytes);
  void copy(void* to, const void* from, uint64_t nbytes);
  void synchronize();
  void wait() noexcept;  // the same, but throws nothing
  // At once, after all that was put on the stream; from any thread.
  void read(void* to, const void* from, uint64_t nbytes);
  // Seconds that what `work` puts on the stream takes.
  double seconds_of(void (*work)(void* context), void* context);

 private:
  void* staged(uint64_t nbytes);

  int index_;
  DeviceProperties properties_;
  std::unique_ptr<LaunchQueue> queue_ = std::make_unique<LaunchQueue>();
  struct Staging;
  Staging* staging_ = nullptr;
};

}  // namespace llava::cuda
