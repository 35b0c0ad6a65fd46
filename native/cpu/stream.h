// The CPU's stream: thread pool, kernel table, and workspaces that grow to the largest op seen and are then reused.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "common/aligned.h"
#include "common/error.h"
#include "common/thread_pool.h"
#include "cpu/host_view.h"
#include "cpu/kernels/table.h"
#include "ops/backend.h"

namespace llava::cpu {

// Memory that only grows; contents do not survive growth.
class Workspace {
 public:
  Workspace() = default;
  ~Workspace() { free_aligned(data_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  Workspace(Workspace&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }

  std::byte* at_least(uint64_t bytes) {  // 64-byte aligned; throws kOutOfMemory
    if (bytes <= size_) return data_;
    const uint64_t size = (bytes + 63) / 64 * 64;
    free_aligned(data_);
    size_ = 0;
    data_ = static_cast<std::byte*>(allocate_aligned(size));
    if (data_ == nullptr)
      throw Error(ErrorCode::kOutOfMemory,
                  "out of memory: could not allocate " + std::to_string(size) + " bytes of scratch memory");
    size_ = size;
    return data_;
  }
  uint64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

class CpuStream : public Stream {
 public:
  CpuStream(int threads, const KernelTable& table)
      : kernels(table), pool(threads), per_worker_(static_cast<size_t>(threads)) {}

  const KernelTable& kernels;
  ThreadPool pool;

  // One buffer that all workers read (packed activations), and one for each worker (panels, scores).
  std::byte* shared(uint64_t bytes) { return shared_.at_least(bytes); }
  void reserve_per_worker(uint64_t bytes) {
    for (Workspace& workspace : per_worker_) workspace.at_least(bytes);
  }
  // Of patch_embed: patches [rows, depth] and their products [rows, width].
  std::pair<HostRows<float>, HostRows<float>> patches(int64_t rows, int64_t depth, int64_t width) {
    constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
    const int64_t stride = row_pitch(depth * kFloat) / kFloat;
    float* memory =
        reinterpret_cast<float*>(patches_.at_least(static_cast<uint64_t>(rows * (stride + width) * kFloat)));
    return {{memory, rows, depth, stride}, {memory + rows * stride, rows, width}};
  }
  std::byte* of_worker(int worker) { return per_worker_[static_cast<size_t>(worker)].at_least(0); }

  // task(index, worker); returns early when the pass is cancelled.
  template <class Task>
  void parallel(int64_t tasks, const Task& task) {
    pool.run(tasks, task, cancel);
  }

  // Rows in about four chunks a worker: task(first, count).
  template <class Task>
  void parallel_rows(int64_t rows, const Task& task) {
    const int64_t chunk = std::max<int64_t>(1, (rows + pool.threads() * 4 - 1) / (pool.threads() * 4));
    parallel((rows + chunk - 1) / chunk,
             [&](int64_t index, int) { task(index * chunk, std::min(chunk, rows - index * chunk)); });
  }

  uint64_t scratch_bytes() const override {
    uint64_t total = shared_.size() + patches_.size();
    for (const Workspace& workspace : per_worker_) total += workspace.size();
    return total;
  }

 private:
  Workspace shared_, patches_;
  std::vector<Workspace> per_worker_;
};

inline CpuStream& cpu_stream(Stream& stream) { return static_cast<CpuStream&>(stream); }

#define OP(name, Args) void name(Stream&, const Args&);
#include "ops/ops.def"
#undef OP

}  // namespace llava::cpu
