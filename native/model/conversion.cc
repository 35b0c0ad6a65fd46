#include "model/conversion.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/cpu_features.h"
#include "common/crc32.h"
#include "common/error.h"
#include "common/quantise.h"

namespace llava {

namespace {

constexpr int64_t kTaskValues = 1 << 16;  // 256 KB of f32: a core's L2
constexpr int64_t kCheckBytes = 1 << 20;

[[noreturn]] void corrupt(const std::string& what) { throw Error(ErrorCode::kModelCorrupt, what); }

uint32_t magnitude_bits(float value) { return std::bit_cast<uint32_t>(value) & 0x7FFFFFFFu; }
constexpr uint32_t kInfinityBits = 0x7F800000u;
// From here on a scale may not fit binary16; below it every type holds every value.
constexpr float kLargestHalf = 65504.0f;

Findings not_finite(const float* values, int64_t n) {
  Findings found;
  for (int64_t i = 0; i < n; i++) {
    found.nan += magnitude_bits(values[i]) > kInfinityBits;
    found.infinite += magnitude_bits(values[i]) == kInfinityBits;
  }
  return found;
}

Findings operator+(const Findings& a, const Findings& b) {
  return {a.nan + b.nan, a.infinite + b.infinite, a.overflowed + b.overflowed};
}

// Runs task(index, worker) on the pool; throws kAborted when it was cancelled.
template <class Task>
void run_all(ThreadPool& pool, int64_t tasks, const std::atomic<bool>& cancel, const Task& task) {
  pool.run(tasks, task, Cancellation(cancel));
  if (cancel.load(std::memory_order_relaxed)) throw Error(ErrorCode::kAborted, "the conversion was cancelled");
}

}  // namespace

Conversion::Conversion(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, int threads)
    : codec_(row_codecs().back()),
      pool_(threads > 0 ? threads : usable_cpus()),
      scratch_(static_cast<size_t>(pool_.threads())) {
  for (const std::string& path : files) files_.push_back(std::make_unique<FileReader>(path));
  for (const TensorEntry& entry : directory) {
    int64_t rows = 1;
    for (size_t i = 0; i < entry.shape.size(); i++) {
      if (entry.shape[i] <= 0) corrupt(entry.name + ": its shape has a size below 1");
      if (i + 1 < entry.shape.size() && __builtin_mul_overflow(rows, entry.shape[i], &rows))
        corrupt(entry.name + ": its shape overflows");
    }
    const int64_t columns = entry.shape.empty() ? 1 : entry.shape.back();
    if (columns % traits(entry.dtype).elements != 0)
      corrupt(entry.name + ": rows of " + std::to_string(columns) + " values do not divide into blocks");
    int64_t nbytes = 0, bytes_per_row = 0;
    if (__builtin_mul_overflow(columns / traits(entry.dtype).elements, traits(entry.dtype).bytes, &bytes_per_row) ||
        __builtin_mul_overflow(rows, bytes_per_row, &nbytes) || static_cast<uint64_t>(nbytes) != entry.nbytes) {
      corrupt(entry.name + ": " + std::to_string(entry.nbytes) + " bytes do not hold its shape");
    }
    if (entry.file < 0 || entry.file >= static_cast<int64_t>(files_.size())) corrupt(entry.name + ": no such file");
    const uint64_t size = files_[static_cast<size_t>(entry.file)]->size();
    if (entry.offset > size || entry.nbytes > size - entry.offset)
      corrupt(entry.name + ": reaches beyond the end of its file (truncated download?)");
    if (!by_name_.emplace(entry.name, static_cast<int64_t>(tensors_.size())).second)
      corrupt(entry.name + ": listed twice");
    if (entry.transposed && (entry.shape.size() != 2 || traits(entry.dtype).quantised()))
      corrupt(entry.name + ": only a float matrix may be stored transposed");
    tensors_.push_back({entry, rows, columns, bytes_per_row});
  }
}

const Conversion::Tensor& Conversion::tensor(int64_t index) const {
  if (index < 0 || index >= static_cast<int64_t>(tensors_.size()))
    throw Error(ErrorCode::kInvalidArgument, "there is no tensor " + std::to_string(index));
  return tensors_[static_cast<size_t>(index)];
}

int64_t Conversion::result_bytes(const RowRequest& request) const {
  const Tensor& source = tensor(request.tensor);
  const auto refuse = [&](const char* why) {
    throw Error(ErrorCode::kInvalidArgument, source.entry.name + ": " + why);
  };
  if (source.columns % traits(request.target).elements != 0)
    refuse("its rows do not divide into blocks of the target type");
  if (request.first < 0 || request.count < 1 || request.count > source.rows - request.first) refuse("no such rows");
  const int64_t heads = request.interleaved_heads;
  if (heads > 0 && source.entry.transposed) refuse("a transposed matrix has no heads to interleave");
  if (heads < 0 || (heads > 0 && (source.rows % heads != 0 || source.rows / heads % 2 != 0)))
    refuse("its rows do not divide into heads of pairs");
  int64_t nbytes = 0;
  if (__builtin_mul_overflow(request.count, row_bytes(request.target, source.columns), &nbytes)) refuse("too large");
  return nbytes;
}

void Conversion::read_rows(const Tensor& source, int64_t first, int64_t count, std::byte* out) const {
  const auto at = static_cast<uint64_t>(first * source.row_bytes);
  files_[static_cast<size_t>(source.entry.file)]->read(source.entry.offset + at, out,
                                                       static_cast<uint64_t>(count * source.row_bytes));
}

// The same of a matrix [rows, columns] that lies in its file as [columns, rows].
void Conversion::read_transposed(const Tensor& source, int64_t first, int64_t count, std::byte* out) const {
  const auto size = static_cast<int64_t>(traits(source.entry.dtype).bytes);
  std::vector<std::byte> strip(static_cast<size_t>(count * size));
  for (int64_t column = 0; column < source.columns; column++) {
    const auto at = static_cast<uint64_t>((column * source.rows + first) * size);
    files_[static_cast<size_t>(source.entry.file)]->read(source.entry.offset + at, strip.data(), strip.size());
    for (int64_t r = 0; r < count; r++)
      std::copy_n(strip.data() + r * size, size, out + r * source.row_bytes + column * size);
  }
}

// Keeps A of the tensor at hand, if it has an adapter.
void Conversion::load_adapter(int64_t index) {
  if (adapter_ && adapter_->tensor == index) return;
  adapter_.reset();
  const Tensor& source = tensor(index);
  const std::string& name = source.entry.name;
  constexpr std::string_view kSuffix = ".weight";
  if (!name.ends_with(kSuffix)) return;
  const std::string module = name.substr(0, name.size() - kSuffix.size());
  const auto found_a = by_name_.find(module + ".lora_A.weight"), found_b = by_name_.find(module + ".lora_B.weight");
  if (found_a == by_name_.end() && found_b == by_name_.end()) return;
  if (found_a == by_name_.end() || found_b == by_name_.end()) corrupt(module + ": half of its adapter is missing");
  const Tensor& a = tensor(found_a->second);
  const Tensor& b = tensor(found_b->second);
  if (a.columns != source.columns || b.rows != source.rows || b.columns != a.rows)
    corrupt(module + ": its adapter has another shape");
  const int64_t heads = b.entry.interleaved_heads;
  if (heads < 0 || (heads > 0 && (b.rows % heads != 0 || b.rows / heads % 2 != 0)))
    corrupt(module + ": its adapter's rows do not divide into heads of pairs");
  std::vector<std::byte> bytes(static_cast<size_t>(a.entry.nbytes));
  read_rows(a, 0, a.rows, bytes.data());
  Adapter adapter{index, &b, a.rows, std::vector<float>(static_cast<size_t>(a.rows * a.columns))};
  for (int64_t r = 0; r < a.rows; r++)
    codec_.decode(a.entry.dtype, bytes.data() + r * a.row_bytes, a.columns, adapter.a.data() + r * a.columns);
  adapter_ = std::move(adapter);
}

// values += lora_scale B[row] A
void Conversion::add_adapter(int64_t row, float* values, Scratch& scratch) const {
  const Tensor& b = *adapter_->b;
  const int64_t rank = adapter_->rank, columns = tensors_[static_cast<size_t>(adapter_->tensor)].columns;
  std::vector<std::byte> bytes(static_cast<size_t>(b.row_bytes));
  scratch.coefficients.resize(static_cast<size_t>(rank));
  const int64_t heads = b.entry.interleaved_heads;
  read_rows(b, heads == 0 ? row : half_row(row, b.rows / heads), 1, bytes.data());
  codec_.decode(b.entry.dtype, bytes.data(), rank, scratch.coefficients.data());
  for (int64_t k = 0; k < rank; k++) {
    const float coefficient = b.entry.lora_scale * scratch.coefficients[static_cast<size_t>(k)];
    const float* a = adapter_->a.data() + k * columns;
    for (int64_t i = 0; i < columns; i++) values[i] += coefficient * a[i];
  }
}

Findings Conversion::convert_rows(const RowRequest& request, int64_t first, int64_t count, std::byte* out,
                                  Scratch& scratch) const {
  const Tensor& source = tensor(request.tensor);
  const DType from = source.entry.dtype, to = request.target;
  const int64_t columns = source.columns, out_bytes = row_bytes(to, columns),
                per_head = request.interleaved_heads > 0 ? source.rows / request.interleaved_heads : 1;
  const auto source_row = [&](int64_t row) { return request.interleaved_heads == 0 ? row : half_row(row, per_head); };
  const bool adapted = adapter_.has_value(), copied = from == to && !adapted;
  scratch.values.resize(static_cast<size_t>(columns));
  if (!copied) scratch.bytes.resize(static_cast<size_t>(count * source.row_bytes));
  std::byte* bytes = copied ? out : scratch.bytes.data();
  if (source.entry.transposed)
    read_transposed(source, first, count, bytes);
  else if (request.interleaved_heads == 0)
    read_rows(source, first, count, bytes);
  for (int64_t r = 0; r < count && request.interleaved_heads > 0; r++)
    read_rows(source, source_row(first + r), 1, bytes + r * source.row_bytes);

  Findings findings;
  float* values = scratch.values.data();
  for (int64_t r = 0; r < count; r++) {
    codec_.decode(from, bytes + r * source.row_bytes, columns, values);
    if (adapted) add_adapter(source_row(first + r), values, scratch);
    if (!copied) codec_.encode(to, values, columns, out + r * out_bytes);
    if (codec_.largest_magnitude(values, columns) < magnitude_bits(kLargestHalf)) continue;
    const Findings row = not_finite(values, columns);
    findings = findings + row;
    if (copied || row.nan + row.infinite > 0) continue;
    codec_.decode(to, out + r * out_bytes, columns, values);
    const Findings after = not_finite(values, columns);
    findings.overflowed += after.nan + after.infinite;
  }
  return findings;
}

Findings Conversion::convert(const RowRequest& request, std::byte* out, const std::atomic<bool>& cancel) {
  const int64_t stride = result_bytes(request) / request.count;
  load_adapter(request.tensor);
  const int64_t rows_per_task = std::max<int64_t>(1, kTaskValues / tensor(request.tensor).columns);
  const int64_t tasks = (request.count + rows_per_task - 1) / rows_per_task;
  std::vector<Findings> findings(static_cast<size_t>(tasks));
  run_all(pool_, tasks, cancel, [&](int64_t index, int worker) {
    const int64_t begin = index * rows_per_task, count = std::min(rows_per_task, request.count - begin);
    findings[static_cast<size_t>(index)] = convert_rows(request, request.first + begin, count, out + begin * stride,
                                                        scratch_[static_cast<size_t>(worker)]);
  });
  Findings sum;
  for (const Findings& each : findings) sum = sum + each;
  return sum;
}

TensorCheck Conversion::check(int64_t index, const std::atomic<bool>& cancel) {
  const Tensor& source = tensor(index);
  const int64_t rows_per_task = std::max<int64_t>(1, kCheckBytes / source.row_bytes);
  const int64_t tasks = (source.rows + rows_per_task - 1) / rows_per_task;
  std::vector<TensorCheck> parts(static_cast<size_t>(tasks));
  const auto rows_of = [&](int64_t task) { return std::min(rows_per_task, source.rows - task * rows_per_task); };
  run_all(pool_, tasks, cancel, [&](int64_t task, int worker) {
    Scratch& scratch = scratch_[static_cast<size_t>(worker)];
    TensorCheck& part = parts[static_cast<size_t>(task)];
    const int64_t rows = rows_of(task);
    scratch.bytes.resize(static_cast<size_t>(rows * source.row_bytes));
    scratch.values.resize(static_cast<size_t>(source.columns));
    read_rows(source, task * rows_per_task, rows, scratch.bytes.data());
    part.crc32 = crc32(0, scratch.bytes.data(), scratch.bytes.size());
    for (int64_t r = 0; r < rows; r++) {
      codec_.decode(source.entry.dtype, scratch.bytes.data() + r * source.row_bytes, source.columns,
                    scratch.values.data());
      if (codec_.largest_magnitude(scratch.values.data(), source.columns) < kInfinityBits) continue;
      part.findings = part.findings + not_finite(scratch.values.data(), source.columns);
    }
  });
  TensorCheck sum;
  for (int64_t task = 0; task < tasks; task++) {
    const TensorCheck& part = parts[static_cast<size_t>(task)];
    sum.findings = sum.findings + part.findings;
    sum.crc32 = crc32_joined(sum.crc32, part.crc32, static_cast<uint64_t>(rows_of(task) * source.row_bytes));
  }
  return sum;
}

}  // namespace llava
