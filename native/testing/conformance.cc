#include "testing/conformance.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <new>

#include "common/error.h"

namespace llava::testing {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string text(double value) {
  char out[32];
  std::snprintf(out, sizeof out, "%.6g", value);
  return out;
}

double ulp_at(float scale) {
  if (!std::isfinite(scale)) return kNan;
  return static_cast<double>(std::nextafter(scale, std::numeric_limits<float>::infinity())) -
         static_cast<double>(scale);
}

// Equal bits are no error: infinities, and padding that nobody may write.
double distance(float value, float truth) {
  if (std::bit_cast<uint32_t>(value) == std::bit_cast<uint32_t>(truth)) return 0;
  if (std::isinf(truth) || std::isinf(value)) return value == truth ? 0 : kNan;
  return std::fabs(static_cast<double>(value) - static_cast<double>(truth));
}

double worse(double a, double b) { return std::isnan(a) || std::isnan(b) ? kNan : std::max(a, b); }

double largest_distance(std::span<const float> values, std::span<const float> truth) {
  double worst = 0;
  for (size_t i = 0; i < truth.size(); i++) worst = worse(worst, distance(values[i], truth[i]));
  return worst;
}

constexpr double bound_of(double reference_error) { return 2 * reference_error + 4; }

// A fault of a kernel becomes a verdict: a touched page behind an operand is reported by the case that did it.
// Only the thread that runs the case is caught; a worker's fault ends the process.
thread_local sigjmp_buf* armed = nullptr;

void on_fault(int signal) {
  if (armed != nullptr) siglongjmp(*armed, signal);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

class FaultCatcher {
 public:
  explicit FaultCatcher(sigjmp_buf& target) {
    struct sigaction action = {};
    action.sa_handler = on_fault;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &action, &before_[i]);
    armed = &target;
  }
  ~FaultCatcher() {
    armed = nullptr;
    for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &before_[i], nullptr);
  }

 private:
  static constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  struct sigaction before_[std::size(kSignals)];
};

uint64_t seed_of(const std::string& name) {  // FNV-1a
  uint64_t seed = 0xCBF29CE484222325u;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return seed;
}

}  // namespace

Verdict run_case(const Case& which, const Target& target) {
  Trial trial(target, seed_of(which.name));
  sigjmp_buf back;
  if (const int signal = sigsetjmp(back, 1); signal != 0) {
    return {false, kNan, kNan,
            std::string("touched memory outside of its operands, or an instruction this CPU lacks: signal ") +
                std::to_string(signal)};
  }
  const FaultCatcher catcher(back);
  try {
    which.run(trial);
  } catch (const Error& error) {
    return {false, kNan, kNan, std::string("threw ") + code_name(error.code()) + ": " + error.what()};
  }
  return trial.verdict();
}

uint64_t Random::next() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::vector<float> Random::values(int64_t n, float low, float high) {
  std::vector<float> out(static_cast<size_t>(n));
  const double from = std::log2(static_cast<double>(low)), to = std::log2(static_cast<double>(high));
  for (float& value : out) {
    const double magnitude = below(16) == 0 ? 0 : std::exp2(from + (to - from) * uniform());
    value = static_cast<float>(std::min(magnitude, static_cast<double>(high)));
    if (next() & 1) value = -value;
  }
  return out;
}

std::vector<std::byte> Random::bytes(int64_t n) {
  std::vector<std::byte> out(static_cast<size_t>(n));
  for (std::byte& byte : out) byte = static_cast<std::byte>(next());
  return out;
}

void Trial::near(const std::string& label, std::span<const float> fast, std::span<const float> reference,
                 std::span<const float> truth, float scale) {
  checks_++;
  if (fast.size() != truth.size() || reference.size() != truth.size())
    return require(false, label + ": as many values as the reference");
  const double ulp = ulp_at(scale > 0 ? scale : largest_magnitude(truth));
  Errors& errors = errors_[label];
  errors.fast = worse(errors.fast, largest_distance(fast, truth) / ulp);
  errors.reference = worse(errors.reference, largest_distance(reference, truth) / ulp);
}

void Trial::within(const std::string& label, std::span<const float> fast, std::span<const double> truth,
                   std::span<const double> bound) {
  checks_++;
  for (size_t i = 0; i < truth.size(); i++) {
    const double error = std::fabs(static_cast<double>(fast[i]) - truth[i]);
    if (!(error <= bound[i]))
      return require(false, label + ": error " + text(error) + " above the derived bound " + text(bound[i]));
  }
}

void Trial::exact_bytes(const std::string& label, std::span<const std::byte> got, std::span<const std::byte> want,
                        size_t element) {
  checks_++;
  if (got.size() != want.size()) return require(false, label + ": as many values as the reference");
  const auto [at, other] = std::mismatch(got.begin(), got.end(), want.begin());
  if (at != got.end())
    require(false, label + ": value " + std::to_string(static_cast<size_t>(at - got.begin()) / element) + " differs");
}

void Trial::require(bool holds, const std::string& label) {
  checks_++;
  guard(holds, label);
}

void Trial::guard(bool holds, const std::string& label) {
  if (!holds && std::find(broken_.begin(), broken_.end(), label) == broken_.end()) broken_.push_back(label);
}

Verdict Trial::verdict() const {
  Verdict out{broken_.empty() && checks_ > 0, 0, bound_of(0), checks_ > 0 ? "exact" : "nothing was checked"};
  std::string failures;
  for (const std::string& label : broken_) failures += label + "\n";
  bool first = true;
  for (const auto& [label, errors] : errors_) {
    const double bound = bound_of(errors.reference);
    const bool holds = errors.fast <= bound;
    if (!holds) failures += label + ": " + text(errors.fast) + " ulp, bound " + text(bound) + "\n";
    if (first || !(errors.fast / bound <= out.worst_error / out.bound)) {
      out.worst_error = errors.fast;
      out.bound = bound;
      out.detail = label;
    }
    out.ok = out.ok && holds;
    first = false;
  }
  if (!failures.empty()) out.detail = failures;
  return out;
}

Fenced::Fenced(Trial& trial, int64_t bytes, int64_t gap) : trial_(trial), bytes_(bytes), gap_(gap) {
  const int64_t page = sysconf(_SC_PAGESIZE), body = (kFenceBytes + bytes + gap + page - 1) / page * page;
  mapped_ = body + page;
  void* mapping =
      mmap(nullptr, static_cast<size_t>(mapped_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw Error(ErrorCode::kOutOfMemory, "out of memory: could not map an operand");
  mapping_ = static_cast<std::byte*>(mapping);
  mprotect(mapping_ + body, static_cast<size_t>(page), PROT_NONE);
  values_ = mapping_ + body - gap - bytes;
  std::memset(values_ - kFenceBytes, static_cast<int>(kGuard), kFenceBytes);
  std::memset(values_ + bytes, static_cast<int>(kGuard), static_cast<size_t>(gap));
}

Fenced::~Fenced() { munmap(mapping_, static_cast<size_t>(mapped_)); }

bool Fenced::fences_hold() const {
  const auto untouched = [](std::byte b) { return b == kGuard; };
  return std::all_of(values_ - kFenceBytes, values_, untouched) &&
         std::all_of(values_ + bytes_, values_ + bytes_ + gap_, untouched);
}

uint64_t Fenced::hash() const {
  uint64_t hash = 0xCBF29CE484222325u;
  for (int64_t i = 0; i < bytes_; i++) hash = (hash ^ static_cast<uint64_t>(values_[i])) * 0x100000001B3u;
  return hash;
}

int64_t random_gap(Trial& trial) { return std::max<int64_t>(0, trial.random.below(8) - 4); }

std::vector<float> rows_of(const std::vector<float>& strided, int64_t rows, int64_t cols, int64_t stride) {
  std::vector<float> out;
  for (int64_t r = 0; r < rows; r++)
    out.insert(out.end(), strided.begin() + r * stride, strided.begin() + r * stride + cols);
  return out;
}

std::vector<float> with_stride(const std::vector<float>& dense, int64_t rows, int64_t cols, int64_t stride) {
  std::vector<float> out(static_cast<size_t>(rows == 0 ? 0 : (rows - 1) * stride + cols),
                         std::bit_cast<float>(0xFFFFFFFFu));
  for (int64_t r = 0; r < rows; r++) std::copy_n(dense.begin() + r * cols, cols, out.begin() + r * stride);
  return out;
}

float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::fmax(largest, std::isinf(value) ? 0 : std::fabs(value));
  return largest;
}

std::vector<float> unsigned_zeros(std::vector<float> values) {
  for (float& value : values) value += 0.0f;
  return values;
}

double half_value(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const double magnitude = exponent == 31  ? (mantissa == 0 ? std::numeric_limits<double>::infinity() : kNan)
                           : exponent == 0 ? std::ldexp(mantissa, -24)
                                           : std::ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

}  // namespace llava::testing
