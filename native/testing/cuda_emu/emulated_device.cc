// What device.cu is on a card, on the emulator: memory that is open only while a copy or a launch runs.
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <utility>

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

// Of different sizes, so that what depends on it is seen to give the same bits.
DeviceProperties device_properties(int device) {
  return {"emulated card", "emulated", device <= 1 ? 1 : 64, uint64_t{4} << 30, uint64_t{4} << 30};
}
bool has_code_for(int) { return true; }

struct Graph {
  std::vector<KernelLaunch> run;
};
void GraphDeleter::operator()(Graph* graph) const { delete graph; }

namespace {

void run(NativeStream stream, const KernelLaunch& launch) {
  cuda_emu::launch(*stream, launch.grid, launch.block, launch.shared_bytes, [&] { launch.call(launch); });
}

}  // namespace

void submit(NativeStream stream, const KernelLaunch& launch) {
  cuda_emu::counters().submissions++;
  run(stream, launch);
}
std::unique_ptr<Graph, GraphDeleter> make_graph(std::span<const KernelLaunch> run) {
  return std::unique_ptr<Graph, GraphDeleter>(new Graph{{run.begin(), run.end()}});
}
void set_node(Graph& graph, size_t index, const KernelLaunch& launch) { graph.run[index] = launch; }
void submit(NativeStream stream, Graph& graph) {
  cuda_emu::counters().submissions++;
  for (const KernelLaunch& launch : graph.run) run(stream, launch);
}

struct Card::Staging {
  cuda_emu::Schedule schedule;
  std::exception_ptr failure;  // the first since synchronize() threw one

  void flush(LaunchQueue& queue, bool begins = false) noexcept {
    try {
      begins ? queue.begin() : queue.flush();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }
};

Card::Card(int index) : index_(index), properties_(device_properties(index)), staging_(new Staging) {
  staging_->schedule = emulated_schedule(index);
  queue_->native = &staging_->schedule;
}
Card::~Card() {
  staging_->flush(*queue_);
  delete staging_;
}

uint64_t Card::free_bytes() const { return properties_.free_bytes; }
void* Card::allocate(uint64_t nbytes) { return memory().allocate(nbytes); }
void Card::free(void* data) noexcept {
  if (data == nullptr) return;
  staging_->flush(*queue_);  // what was put on the stream may use it
  memory().free(static_cast<std::byte*>(data));
}
void Card::copy_in(void* to, const void* from, uint64_t nbytes) {
  staging_->flush(*queue_);
  memory().with_block(static_cast<const std::byte*>(to), nbytes, [&] { std::memcpy(to, from, nbytes); });
}
void Card::copy_out(void* to, const void* from, uint64_t nbytes) { read(to, from, nbytes); }
void Card::copy(void* to, const void* from, uint64_t nbytes) {
  staging_->flush(*queue_);
  const Opened opened(memory());
  std::memmove(to, from, nbytes);
}
void Card::make_current() const {}
void Card::synchronize() {
  wait();
  if (staging_->failure) std::rethrow_exception(std::exchange(staging_->failure, nullptr));
}
void Card::wait() noexcept { staging_->flush(*queue_, true); }
void Card::read(void* to, const void* from, uint64_t nbytes) {
  staging_->flush(*queue_);
  if (staging_->failure) std::rethrow_exception(std::exchange(staging_->failure, nullptr));
  memory().with_block(static_cast<const std::byte*>(from), nbytes, [&] { std::memcpy(to, from, nbytes); });
}
double Card::seconds_of(void (*work)(void* context), void* context) {
  const auto start = std::chrono::steady_clock::now();
  work(context);
  synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace llava::cuda

namespace llava::cuda_emu {

void open_memory() { cuda::memory().open(); }
void close_memory() { cuda::memory().close(); }

}  // namespace llava::cuda_emu
