// A checkpoint gone through once, tensor by tensor: to write it as other types, or to check it. Computes nothing of the
// model.
//   A tensor is rows of its last dimension. Rows are independent, so a stretch of them is read, expanded, encoded on
//   all threads at once; memory is one stretch's, whatever the file's size.
#pragma once
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/file_reader.h"
#include "common/quantise.h"
#include "common/thread_pool.h"
#include "model/weights.h"

namespace llava {

// Values that no model can compute with.
struct Findings {
  int64_t nan = 0;
  int64_t infinite = 0;
  int64_t overflowed = 0;  // finite in the source, too large for the target type
};

// Rows [first, first + count) of a tensor as `target`.
struct RowRequest {
  int64_t tensor;
  DType target;
  // Above 0: query or key rows of so many heads, from rotation pairs half a head apart to neighbours:
  //   row h * Dh + 2 j + s of the result is row h * Dh + s * Dh / 2 + j of the source.
  int64_t interleaved_heads;
  int64_t first, count;
};

struct TensorCheck {
  Findings findings;
  uint32_t crc32 = 0;  // of the bytes as stored
};

class Conversion {
 public:
  // Entries MODULE.lora_A.weight and MODULE.lora_B.weight are an adapter: MODULE.weight is converted as W + lora_scale
  // B A. threads 0: as many as the process may use. Throws kModelNotFound, kModelCorrupt.
  Conversion(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, int threads);

  // Bytes of a request's result; throws kInvalidArgument where it asks for what is not there.
  int64_t result_bytes(const RowRequest& request) const;
  // out[result_bytes(request)]. Throws kModelCorrupt, kAborted.
  Findings convert(const RowRequest& request, std::byte* out, const std::atomic<bool>& cancel);
  TensorCheck check(int64_t tensor, const std::atomic<bool>& cancel);

 private:
  struct Tensor {
    TensorEntry entry;
    int64_t rows, columns, row_bytes;
  };
  // B [rows, rank] lies in its file; A [rank, columns] is kept as f32 while its tensor is converted.
  struct Adapter {
    int64_t tensor;
    const Tensor* b;
    int64_t rank;
    std::vector<float> a;
  };
  struct Scratch {
    std::vector<std::byte> bytes;
    std::vector<float> values, coefficients;
  };

  const Tensor& tensor(int64_t index) const;
  void read_rows(const Tensor& tensor, int64_t first, int64_t count, std::byte* out) const;
  void read_transposed(const Tensor& tensor, int64_t first, int64_t count, std::byte* out) const;
  void load_adapter(int64_t index);
  void add_adapter(int64_t row, float* values, Scratch& scratch) const;
  Findings convert_rows(const RowRequest& request, int64_t first, int64_t count, std::byte* out,
                        Scratch& scratch) const;

  std::vector<std::unique_ptr<FileReader>> files_;
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string, int64_t> by_name_;
  RowCodec codec_;
  ThreadPool pool_;
  std::vector<Scratch> scratch_;  // one per thread
  std::optional<Adapter> adapter_;
};

}  // namespace llava
