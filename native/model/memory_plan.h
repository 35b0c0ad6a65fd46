// What a model will take of a device's memory, known before anything is loaded: it is opened and run once on a back
// end that only counts (ops/dry_backend.h).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/weights.h"
#include "ops/backend.h"

namespace llava {

// Positions that there must be room for: a picture of 576 rows and a short talk about it.
constexpr int64_t kLeastPositions = 1024;

// In bytes.
struct MemoryPlan {
  DeviceSpace space;
  uint64_t weights;
  uint64_t workspaces;  // activations of the largest passes, and what the back end takes for itself
  uint64_t page = 0;    // of keys and values; 0: the model keeps none
  // What is left for keys and values, and encoded pictures.
  uint64_t room() const {
    const uint64_t taken = weights + workspaces;
    return space.free > taken ? space.free - taken : 0;
  }
  // Of keys and values that the room holds.
  int64_t positions() const { return page == 0 ? 0 : static_cast<int64_t>(room() / page) * kPageTokens; }
};

// Absent where the device's memory is the host's. Throws kOutOfMemory, with the figures, where the model and
// kLeastPositions, or its whole context, do not fit.
std::optional<MemoryPlan> plan_llava(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory,
                                     const ModelConfig& config, const ModelOptions& options, const Backend& backend);
std::optional<MemoryPlan> plan_clip(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory,
                                    const ClipConfig& config, const ModelOptions& options, const Backend& backend);

}  // namespace llava
