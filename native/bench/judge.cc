#include <bit>
#include <cmath>
#include <limits>

#include "bench/measured_op.h"
#include "common/error.h"

namespace llava::bench {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double worse(double a, double b) { return std::isnan(a) || std::isnan(b) ? kNan : std::max(a, b); }

double ulp_of_largest(std::span<const float> truth) {
  float largest = 0;
  for (const float value : truth) largest = std::fmax(largest, std::fabs(value));
  return static_cast<double>(std::nextafter(largest, std::numeric_limits<float>::infinity())) -
         static_cast<double>(largest);
}

double distance(float value, float truth) { return std::fabs(static_cast<double>(value) - static_cast<double>(truth)); }

uint64_t hash_words(std::span<const float> values) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const float value : values) {
    hash = (hash ^ std::bit_cast<uint32_t>(value)) * 0x100000001B3u;
    hash ^= hash >> 32;  // low bits too depend on high ones
  }
  return hash;
}

}  // namespace

Verdict judge(const MeasuredOp& op, std::span<const float> output) {
  const Expected expected = op.expected();
  const double ulp = ulp_of_largest(expected.truth);
  double error = 0, reference = 0;
  for (size_t i = 0; i < expected.index.size(); i++) {
    const auto at = static_cast<size_t>(expected.index[i]);
    if (at >= output.size())
      throw Error(ErrorCode::kInvalidArgument, "expected the output to hold as many values as the op writes");
    error = worse(error, distance(output[at], expected.truth[i]) / ulp);
    reference = worse(reference, distance(expected.reference[i], expected.truth[i]) / ulp);
  }
  bool finite = true;
  for (const float value : output) finite = finite && std::isfinite(value);
  const double bound = 2 * reference + 4;
  return {finite && error <= bound, error, bound, hash_words(output)};
}

}  // namespace llava::bench
