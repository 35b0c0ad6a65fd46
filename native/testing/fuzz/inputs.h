// What the fuzz targets make of a fuzzer's bytes: numbers that are mostly sane, and now and then as large, small or odd
// as JavaScript can hand them over; files of so many bytes; and a check of their own that is there in every build.
//   A target fails by a sanitizer's word, by `must`, or by an exception that is no Error.
#pragma once
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/error.h"
#include "model/weights.h"

namespace llava::fuzz {

inline void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

// Hands bytes out. When they are used up, every number is its lowest and every choice its first.
class Bytes : public FuzzedDataProvider {
 public:
  using FuzzedDataProvider::FuzzedDataProvider;
  bool one_in(int n) { return ConsumeIntegralInRange<int>(0, n - 1) == n - 1; }
  int64_t between(int64_t low, int64_t high) { return ConsumeIntegralInRange<int64_t>(low, high); }
  // What integer_of() lets through at its edges, and numbers whose products leave 64 bits.
  int64_t hostile() {
    constexpr int64_t kLargest = int64_t{1} << 53;
    return PickValueInArray<int64_t>({0,
                                      -1,
                                      1,
                                      2,
                                      3,
                                      31,
                                      32,
                                      255,
                                      256,
                                      4096,
                                      65536,
                                      int64_t{1} << 20,
                                      (int64_t{1} << 20) + 1,
                                      INT32_MAX,
                                      int64_t{1} << 31,
                                      int64_t{1} << 32,
                                      int64_t{1} << 40,
                                      int64_t{1} << 52,
                                      kLargest - 1,
                                      kLargest,
                                      -kLargest});
  }
  int64_t mostly(int64_t sane, int one_in_n = 40) { return one_in(one_in_n) ? hostile() : sane; }
  DType dtype() { return static_cast<DType>(between(0, kDTypeCount - 1)); }
};

// A file without a name: its path, for as long as the process runs.
inline std::string file_of(int64_t nbytes, uint64_t seed) {
  const int fd = memfd_create("llava-fuzz", 0);
  std::vector<uint8_t> bytes(static_cast<size_t>(nbytes));
  for (uint8_t& byte : bytes) {  // SplitMix64
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    byte = static_cast<uint8_t>((z ^ z >> 27) >> 40);
  }
  must(fd >= 0 && write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "a file of its own");
  return "/proc/self/fd/" + std::to_string(fd);
}

// Bytes that a tensor of this shape takes, as the binder asks for; a shape that fits no type takes none.
inline uint64_t bytes_of(DType dtype, const std::vector<int64_t>& shape) {
  __int128 bytes = shape.empty() ? 1 : shape.back();
  bytes = bytes / traits(dtype).elements * traits(dtype).bytes;
  for (size_t i = 0; i + 1 < shape.size(); i++) bytes *= shape[i] > (int64_t{1} << 30) ? 1 : shape[i];
  return static_cast<uint64_t>(bytes);
}

// Changes some of what an entry claims.
inline void lie(Bytes& bytes, TensorEntry& entry) {
  switch (bytes.between(0, 7)) {
    case 0: entry.offset = static_cast<uint64_t>(bytes.hostile()) & ((uint64_t{1} << 53) - 1); break;
    case 1: entry.nbytes = static_cast<uint64_t>(bytes.hostile()) & ((uint64_t{1} << 53) - 1); break;
    case 2: entry.file = bytes.hostile(); break;
    case 3: entry.dtype = bytes.dtype(); break;
    case 4:
      if (!entry.shape.empty())
        entry.shape[static_cast<size_t>(bytes.between(0, static_cast<int64_t>(entry.shape.size()) - 1))] =
            bytes.hostile();
      break;
    case 5: entry.shape.push_back(bytes.hostile()); break;
    case 6: entry.shape.clear(); break;
    default: entry.interleaved_heads = bytes.hostile();
  }
  if (bytes.ConsumeBool()) entry.nbytes = bytes_of(entry.dtype, entry.shape);
}

}  // namespace llava::fuzz
