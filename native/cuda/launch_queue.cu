#include "cuda/launch_queue.h"

#include <algorithm>

namespace llava::cuda {

namespace {

// Of the place and the kernels of a run (FNV-1a).
uint64_t name_of(size_t place, std::span<const KernelLaunch> run) {
  uint64_t name = 0xCBF29CE484222325u ^ place;
  for (const KernelLaunch& launch : run)
    name = (name ^ reinterpret_cast<uintptr_t>(launch.kernel) ^ launch.shared_bytes) * 0x100000001B3u;
  return name;
}

}  // namespace

void LaunchQueue::put(const KernelLaunch& launch) {
  const std::lock_guard lock(mutex_);
  waiting_.push_back(launch);
  if (waiting_.size() == kMostOfRun) flush_locked();
}

void LaunchQueue::flush() {
  const std::lock_guard lock(mutex_);
  flush_locked();
}

void LaunchQueue::begin() {
  const std::lock_guard lock(mutex_);
  flush_locked();
  place_ = 0;
}

// Whether a run of this name came before; if not, the next one will have.
bool LaunchQueue::is_seen(uint64_t name) {
  if (std::find(seen_.begin(), seen_.end(), name) != seen_.end()) return true;
  if (seen_.size() == kMostSeen) seen_.clear();
  seen_.push_back(name);
  return false;
}

// The graph of this place and these kernels, its nodes set to the arguments of now; null for a run that comes the first
// time.
LaunchQueue::Kept* LaunchQueue::kept_for(std::span<const KernelLaunch> run) {
  const auto same_kernels = [&](const Kept& kept) {
    return kept.place == place_ &&
           std::equal(run.begin(), run.end(), kept.run.begin(), kept.run.end(),
                      [](const KernelLaunch& a, const KernelLaunch& b) { return a.has_kernel_of(b); });
  };
  const auto found = std::find_if(kept_.begin(), kept_.end(), same_kernels);
  if (found != kept_.end()) {
    for (size_t i = 0; i < run.size(); i++) {
      if (found->run[i].equals(run[i])) continue;
      set_node(*found->graph, i, run[i]);
      found->run[i] = run[i];
    }
    return &*found;
  }
  if (!is_seen(name_of(place_, run))) return nullptr;
  auto graph = make_graph(run);
  if (!graph) return nullptr;
  if (kept_.size() == kMostGraphs) kept_.clear();
  kept_.push_back({place_, {run.begin(), run.end()}, std::move(graph)});
  return &kept_.back();
}

// What fails here does not come again.
void LaunchQueue::flush_locked() {
  if (waiting_.empty()) return;
  run_.swap(waiting_);
  waiting_.clear();
  Kept* const kept = run_.size() > 1 ? kept_for(run_) : nullptr;
  place_++;
  if (kept != nullptr) return submit(native, *kept->graph);
  for (const KernelLaunch& launch : run_) submit(native, launch);
}

}  // namespace llava::cuda
