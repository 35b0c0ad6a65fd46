// Row codecs: every build of quantise-inl.h that this CPU can execute gives the bytes of the plain one.
#include <bit>
#include <cfloat>

#include "common/blocks.h"
#include "common/quantise.h"
#include "testing/conformance.h"

namespace llava::testing {

namespace {

// Ordinary weights, and rows whose scales vanish, underflow or overflow as halves.
std::vector<std::vector<float>> rows(Trial& t, int64_t n) {
  return {t.random.values(n),
          t.random.values(n, 1e-6f, 1e6f),
          t.random.values(n, 1e-44f, FLT_MIN),
          t.random.values(n, 1e3f, FLT_MAX),
          std::vector<float>(static_cast<size_t>(n)),
          std::vector<float>(static_cast<size_t>(n), -0.5f)};
}

void codecs_agree(Trial& t, DType dtype) {
  const std::vector<RowCodec> codecs = row_codecs();
  for (const int64_t n : {kSuperBlock, 3 * kSuperBlock}) {
    for (const std::vector<float>& row : rows(t, n)) {
      const Input<float> x(t, row);
      const Output<std::byte> bytes(t, row_bytes(dtype, n));
      const Output<float> values(t, n);
      codecs.front().encode(dtype, x, n, bytes);
      codecs.front().decode(dtype, bytes, n, values);
      for (const RowCodec& codec : codecs) {
        const std::string what = std::string(codec.isa) + " " + std::string(traits(dtype).name);
        const Output<std::byte> encoded(t, row_bytes(dtype, n));
        const Output<float> decoded(t, n);
        codec.encode(dtype, x, n, encoded);
        codec.decode(dtype, encoded, n, decoded);
        t.exact(what + " encodes", encoded.values(), bytes.values());
        t.exact(what + " decodes", decoded.values(), values.values());
      }
    }
  }
}

void magnitudes_agree(Trial& t) {
  for (const RowCodec& codec : row_codecs()) {
    for (int64_t n = 0; n <= 2 * kBlock + 1; n++) {
      const std::vector<float> row = t.random.values(n, 1e-44f, FLT_MAX);
      const Input<float> x(t, row);
      t.exact(std::string(codec.isa), std::vector<uint32_t>{codec.largest_magnitude(x, n)},
              {std::bit_cast<uint32_t>(largest_magnitude(row))});
    }
  }
}

}  // namespace

std::vector<Case> codec_cases() {
  return {
#define LLAVA_CODEC(T, elements, ...) \
  {"rows of " #T " are the same bytes on every instruction set", [](Trial& t) { codecs_agree(t, DType::T); }},
      LLAVA_DTYPES(LLAVA_CODEC)
#undef LLAVA_CODEC
          {"the largest magnitude of a row is found on every instruction set", magnitudes_agree},
  };
}

}  // namespace llava::testing
