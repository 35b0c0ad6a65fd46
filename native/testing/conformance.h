// Conformance: every kernel of kernels.def and every op of ops.def against plain references, on every table this CPU
// can run.
//   Error without typed tolerances: with ulp = the step of float at the output's scale and err(y) = max|y - truth| /
//   ulp,
//     err(fast) <= 2 err(float reference) + 4        (written so that NaN fails; truth is the same reference in double)
//   Errors are gathered per label over all sizes and seeds of a case, so that one lucky rounding of the reference
//   proves nothing. Operands are fenced: outputs start as NaN between guard words, inputs are hashed before and after,
//   and behind each lies a page that nobody may touch. Those of ops lie in far memory, which only ops and the back
//   end's verbs reach.
#pragma once
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cpu/kernels/table.h"
#include "ops/backend.h"

namespace llava::testing {

// What the cases run on. A table made elsewhere (an emulated ISA) is one more target.
struct Target {
  std::string isa;
  const KernelTable* kernels;
  std::function<std::shared_ptr<Backend>(int threads)> backend;
  bool half_attention = false;  // of many rows over f16 and q8_0, where arithmetic is fast: factors in f16
};
const std::vector<Target>& targets();  // weakest first

struct Verdict {
  bool ok;
  double worst_error;  // in ulps of the output's scale, of the label that came closest to its bound
  double bound;
  std::string detail;  // what failed, one sentence a line; or what came closest
};

class Trial;
struct Case {
  std::string name;
  void (*run)(Trial&);
  bool floats = false;  // meets no kernel that multiplies quantised weights: run_on_table() sees to it
};
std::vector<Case> kernel_cases();
std::vector<Case> op_cases();
std::vector<Case> codec_cases();
std::vector<Case> pool_cases();
std::vector<Case> resize_cases();
const std::vector<Case>& all_cases();

// The weakest target below `target` that has the same kernels as far as the case meets them, so that it says nothing
// new on `target`; null where there is none.
const Target* same_below(const Case& which, const Target& target);

Verdict run_case(const Case& which, const Target& target);
// The same on a target of the list above: in a case of floats, the kernels of quantised weights are traps.
Verdict run_on_table(const Case& which, const Target& target);

// Seeded: the same numbers on every machine (SplitMix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  // Random signs, magnitudes spread evenly over the exponents of [low, high]; one value in sixteen is zero.
  std::vector<float> values(int64_t n, float low = 0.01f, float high = 4.0f);
  std::vector<std::byte> bytes(int64_t n);

 private:
  uint64_t state_;
};

class Trial {
 public:
  Trial(const Target& target, uint64_t seed) : target(target), kernels(*target.kernels), random(seed) {}
  const Target& target;
  const KernelTable& kernels;
  Random random;

  // `scale`: magnitude the output's ulp is taken at; 0 takes the largest value of the truth.
  void near(const std::string& label, std::span<const float> fast, std::span<const float> reference,
            std::span<const float> truth, float scale = 0);
  void within(const std::string& label, std::span<const float> fast, std::span<const double> truth,
              std::span<const double> bound);
  template <class T>
  void exact(const std::string& label, std::span<const T> got, std::span<const T> want) {
    exact_bytes(label, std::as_bytes(got), std::as_bytes(want), sizeof(T));
  }
  template <class T>
  void exact(const std::string& label, const std::vector<T>& got, const std::vector<T>& want) {
    exact(label, std::span<const T>(got), std::span<const T>(want));
  }
  void require(bool holds, const std::string& label);
  // the same of what surrounds an operand: by itself it proves nothing
  void guard(bool holds, const std::string& label);
  Verdict verdict() const;

 private:
  struct Errors {
    double fast = 0, reference = 0;
  };
  void exact_bytes(const std::string& label, std::span<const std::byte> got, std::span<const std::byte> want,
                   size_t element);
  std::map<std::string, Errors> errors_;
  std::vector<std::string> broken_;
  int64_t checks_ = 0;
};

// Memory of one operand: | guard words | values | gap | page without access |. The gap moves the start off its natural
// alignment.
class Fenced {
 public:
  Fenced(Trial& trial, int64_t bytes, int64_t gap);
  ~Fenced();
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

 protected:
  bool fences_hold() const;
  uint64_t hash() const;
  Trial& trial_;
  std::byte* values_;
  int64_t bytes_;

 private:
  std::byte* mapping_;
  int64_t mapped_;
  int64_t gap_;
};

// Random gap of whole elements: often none, so that reading past the end faults.
int64_t random_gap(Trial& trial);

// Values that must be the same after the call; checked when it goes out of scope.
template <class T>
class Input : Fenced {
 public:
  Input(Trial& trial, const std::vector<T>& values)
      : Input(trial, values, random_gap(trial) * static_cast<int64_t>(sizeof(T))) {}
  Input(Trial& trial, const std::vector<T>& values, int64_t gap)
      : Fenced(trial, static_cast<int64_t>(values.size() * sizeof(T)), gap) {
    if (!values.empty()) std::memcpy(values_, values.data(), values.size() * sizeof(T));
    before_ = hash();
  }
  ~Input() { trial_.guard(hash() == before_ && fences_hold(), "inputs stay as they were"); }
  const T* data() const { return reinterpret_cast<const T*>(values_); }
  operator const T*() const { return data(); }

 private:
  uint64_t before_;
};

// Values to be written: NaN (all bits set) at first, or given ones for an operand updated in place.
template <class T>
class Output : Fenced {
 public:
  Output(Trial& trial, int64_t count) : Output(trial, count, random_gap(trial) * static_cast<int64_t>(sizeof(T))) {}
  Output(Trial& trial, const std::vector<T>& values) : Output(trial, static_cast<int64_t>(values.size())) {
    fill(values);
  }
  Output(Trial& trial, const std::vector<T>& values, int64_t gap)
      : Output(trial, static_cast<int64_t>(values.size()), gap) {
    fill(values);
  }
  ~Output() { trial_.guard(fences_hold(), "nothing is written outside of the outputs"); }
  T* data() const { return reinterpret_cast<T*>(values_); }
  operator T*() const { return data(); }
  std::vector<T> values() const { return std::vector<T>(data(), data() + bytes_ / static_cast<int64_t>(sizeof(T))); }

 private:
  Output(Trial& trial, int64_t count, int64_t gap) : Fenced(trial, count * static_cast<int64_t>(sizeof(T)), gap) {
    std::memset(values_, 0xFF, static_cast<size_t>(bytes_));
  }
  void fill(const std::vector<T>& values) { std::memcpy(values_, values.data(), values.size() * sizeof(T)); }
};

constexpr int64_t kFenceBytes = 256;  // of guard words before an operand: four AVX-512 stores
constexpr std::byte kGuard{0xA5};

// A matrix whose rows lie `stride` apart, without the padding.
std::vector<float> rows_of(const std::vector<float>& strided, int64_t rows, int64_t cols, int64_t stride);
// The inverse: padding is NaN, so that whoever reads it is seen.
std::vector<float> with_stride(const std::vector<float>& dense, int64_t rows, int64_t cols, int64_t stride);

float largest_magnitude(std::span<const float> values);

// -0 as +0, for results whose zeros have no sign that anyone relies on.
std::vector<float> unsigned_zeros(std::vector<float> values);

// What a half means, written from the format alone.
double half_value(uint16_t half);

}  // namespace llava::testing
