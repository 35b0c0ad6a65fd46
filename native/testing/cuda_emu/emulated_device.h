// The cards that the emulator shows: each runs its launches in a schedule of its own.
#pragma once
#include "testing/cuda_emu/cuda_emu.h"

namespace llava::cuda {

constexpr int kEmulatedCards = 4;

// Cards 0 … 3: forward, reverse, and two random ones.
inline cuda_emu::Schedule emulated_schedule(int card) {
  using cuda_emu::Order;
  return {card == 0 ? Order::kForward : card == 1 ? Order::kReverse : Order::kRandom, static_cast<uint64_t>(card)};
}

}  // namespace llava::cuda
