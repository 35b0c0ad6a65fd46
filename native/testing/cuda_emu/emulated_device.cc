// What device.cu is on a card, on the emulator: memory that is open only while a copy or a launch runs.
#include <atomic>
#include <chrono>
#include <cstring>

#include "common/half.h"
#include "cuda/device.h"
#include "testing/cuda_emu/emulated_device.h"
#include "testing/far_memory.h"

namespace llava::cuda {

namespace {

using testing::FarMemory, testing::Opened;

FarMemory& memory() {
  static auto* far = new FarMemory;  // what lives in it may outlive all else
  return *far;
}

}  // namespace

float half_bits_to_float(uint16_t half) { return half_to_float(half); }
uint16_t float_to_half_bits(float value) { return float_to_half(value); }
uint16_t float_to_bfloat_bits(float value) { return float_to_bfloat(value); }

Cards cards() { return {kEmulatedCards, true, {}}; }

// Two of different sizes, so that what depends on it is seen to give the same bits.
DeviceProperties device_properties(int device) {
  return {"emulated card", "emulated", device == 0 ? 1 : 64, uint64_t{4} << 30, uint64_t{4} << 30};
}
bool has_code_for(int) { return true; }

struct Card::Staging {
  cuda_emu::Schedule schedule;
};

Card::Card(int index) : index_(index), properties_(device_properties(index)), staging_(new Staging) {
  staging_->schedule = emulated_schedule(index);
  stream_ = &staging_->schedule;
}
Card::~Card() { delete staging_; }

uint64_t Card::free_bytes() const { return properties_.free_bytes; }
void* Card::allocate(uint64_t nbytes) { return memory().allocate(nbytes); }
void Card::free(void* data) noexcept {
  if (data != nullptr) memory().free(static_cast<std::byte*>(data));
}
void Card::copy_in(void* to, const void* from, uint64_t nbytes) {
  const Opened opened(memory());
  std::memcpy(to, from, nbytes);
}
void Card::copy_out(void* to, const void* from, uint64_t nbytes) { read(to, from, nbytes); }
void Card::copy(void* to, const void* from, uint64_t nbytes) {
  const Opened opened(memory());
  std::memmove(to, from, nbytes);
}
void Card::make_current() const {}
void Card::synchronize() {}
void Card::wait() noexcept {}
void Card::read(void* to, const void* from, uint64_t nbytes) {
  const Opened opened(memory());
  std::memcpy(to, from, nbytes);
}
double Card::seconds_of(void (*work)(void* context), void* context) {
  const auto start = std::chrono::steady_clock::now();
  work(context);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace llava::cuda

namespace llava::cuda_emu {

void open_memory() { cuda::memory().open(); }
void close_memory() { cuda::memory().close(); }

}  // namespace llava::cuda_emu
