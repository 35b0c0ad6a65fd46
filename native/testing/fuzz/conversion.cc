// Plans of a conversion as JavaScript hands them over: tensors of every type with adapters beside some, lies among
// them, and requests for rows, heads and types of every kind. What is granted is converted and checked.
#include <algorithm>

#include "model/conversion.h"
#include "testing/fuzz/inputs.h"

namespace llava::fuzz {

namespace {

constexpr int64_t kFileBytes = 1 << 14;
constexpr int64_t kMostBytes = 1 << 20;  // of a result: more is granted, and not made

const std::vector<std::string>& files() {
  static const std::vector<std::string> paths = {file_of(kFileBytes, 3), file_of(100, 4)};
  return paths;
}

TensorEntry entry_of(Bytes& bytes, const std::string& name, std::vector<int64_t> shape) {
  DType dtype = bytes.dtype();
  if (shape.back() % traits(dtype).elements != 0) dtype = DType::F16;
  TensorEntry entry{name, dtype, std::move(shape), 0, 0, 0};
  entry.nbytes = bytes_of(entry.dtype, entry.shape);
  const auto room = static_cast<int64_t>(std::min<uint64_t>(entry.nbytes, kFileBytes));
  entry.offset = static_cast<uint64_t>(bytes.between(0, kFileBytes - room));
  return entry;
}

std::vector<TensorEntry> directory_of(Bytes& bytes) {
  std::vector<TensorEntry> entries;
  for (int64_t n = bytes.between(1, 3); n > 0; n--) {
    const std::string module = "m" + std::to_string(n);
    const int64_t rows = bytes.between(1, 12), columns = bytes.PickValueInArray<int64_t>({256, 32, 7, 1});
    entries.push_back(entry_of(bytes, module + ".weight", {rows, columns}));
    if (!bytes.one_in(3)) continue;
    const int64_t rank = bytes.between(1, 5);
    entries.push_back(entry_of(bytes, module + ".lora_A.weight", {rank, columns}));
    entries.push_back(entry_of(bytes, module + ".lora_B.weight", {rows, rank}));
    entries.back().lora_scale = bytes.ConsumeFloatingPoint<float>();
    entries.back().interleaved_heads = bytes.mostly(bytes.between(0, 2), 4);
  }
  if (bytes.one_in(3))
    lie(bytes, entries[static_cast<size_t>(bytes.between(0, static_cast<int64_t>(entries.size()) - 1))]);
  if (bytes.one_in(20)) entries.push_back(entries.front());
  return entries;
}

void convert(Bytes& bytes) {
  const std::vector<TensorEntry> directory = directory_of(bytes);
  Conversion conversion(files(), directory, 1);
  for (int64_t n = bytes.between(1, 4); n > 0; n--) {
    const std::atomic<bool> cancel{bytes.one_in(50)};
    RowRequest request{.tensor = bytes.mostly(bytes.between(0, static_cast<int64_t>(directory.size()) - 1)),
                       .target = bytes.dtype(),
                       .interleaved_heads = bytes.mostly(bytes.between(0, 3)),
                       .first = bytes.mostly(bytes.between(0, 2)),
                       .count = bytes.mostly(bytes.between(1, 6), 20)};
    try {
      if (bytes.one_in(4)) {
        conversion.check(request.tensor, cancel);
        continue;
      }
      const int64_t nbytes = conversion.result_bytes(request);
      int64_t rows = 1;
      const std::vector<int64_t>& shape = directory[static_cast<size_t>(request.tensor)].shape;
      for (size_t i = 0; i + 1 < shape.size(); i++) rows *= shape[i];
      must(request.first >= 0 && request.count <= rows - request.first, "rows that are there");
      must(nbytes > 0, "a result of some bytes");
      if (nbytes > kMostBytes) continue;
      std::vector<std::byte> out(static_cast<size_t>(nbytes));
      conversion.convert(request, out.data(), cancel);
    } catch (const Error& error) {
      must(error.code() != ErrorCode::kInternal, error.what());
    }
  }
}

}  // namespace

}  // namespace llava::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  llava::fuzz::Bytes bytes(data, size);
  try {
    llava::fuzz::convert(bytes);
  } catch (const llava::Error& error) {
    llava::fuzz::must(error.code() != llava::ErrorCode::kInternal, error.what());
  }
  return 0;
}
