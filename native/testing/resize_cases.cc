// Pictures to floats: every build of resize-inl.h that this CPU can execute, in any number of bands, gives the bits of
// the plainest loop.
#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "image/resize.h"
#include "testing/conformance.h"

namespace llava::testing {

namespace {

// One axis of a picture painted on its canvas, [lines, canvas, 3] to [lines, resized, 3], as Pillow writes it down.
std::vector<uint8_t> resized(const std::vector<uint8_t>& from, int64_t lines, int64_t canvas, int64_t to) {
  const double scale = static_cast<double>(canvas) / static_cast<double>(to), stretch = std::max(scale, 1.0);
  std::vector<uint8_t> out;
  for (int64_t line = 0; line < lines; line++) {
    for (int64_t u = 0; u < to; u++) {
      const double centre = (static_cast<double>(u) + 0.5) * scale, inverse = 1 / stretch;
      const auto lo = std::max<int64_t>(0, static_cast<int64_t>(centre - 2 * stretch + 0.5));
      const auto hi = std::min(canvas, static_cast<int64_t>(centre + 2 * stretch + 0.5));
      std::vector<double> weights;
      double sum = 0;
      for (int64_t x = lo; x < hi; x++) {
        const double t = std::fabs((static_cast<double>(x) - centre + 0.5) * inverse);
        weights.push_back(t < 1 ? (1.5 * t - 2.5) * t * t + 1 : t < 2 ? (((t - 5) * t + 8) * t - 4) * -0.5 : 0);
        sum += weights.back();
      }
      for (int64_t c = 0; c < 3; c++) {
        int64_t pixel = 1 << 21;
        for (int64_t x = lo; x < hi; x++) {
          const double weight = weights[static_cast<size_t>(x - lo)] / sum;
          pixel += static_cast<int64_t>(weight * (1 << 22) + (weight < 0 ? -0.5 : 0.5)) *
                   from[static_cast<size_t>((line * canvas + x) * 3 + c)];
        }
        out.push_back(static_cast<uint8_t>(std::clamp<int64_t>(pixel >> 22, 0, 255)));
      }
    }
  }
  return out;
}

std::vector<uint8_t> turned(const std::vector<uint8_t>& from, int64_t width, int64_t height) {
  std::vector<uint8_t> out;
  for (int64_t x = 0; x < width; x++) {
    for (int64_t y = 0; y < height; y++) {
      for (int64_t c = 0; c < 3; c++) out.push_back(from[static_cast<size_t>((y * width + x) * 3 + c)]);
    }
  }
  return out;
}

// The whole canvas painted, the whole of it resized, and the wanted part cut out.
std::vector<float> expected(const PictureRequest& q, const std::vector<uint8_t>& rgb) {
  std::vector<uint8_t> canvas;
  for (int64_t y = 0; y < q.down.canvas; y++) {
    for (int64_t x = 0; x < q.across.canvas; x++) {
      const int64_t px = x - q.across.start, py = y - q.down.start;
      const bool inside = px >= 0 && px < q.across.size && py >= 0 && py < q.down.size;
      for (int64_t c = 0; c < 3; c++) {
        canvas.push_back(inside ? rgb[static_cast<size_t>((py * q.across.size + px) * 3 + c)]
                                : q.fill[static_cast<size_t>(c)]);
      }
    }
  }
  const std::vector<uint8_t> wide = resized(canvas, q.down.canvas, q.across.canvas, q.across.resized);
  const std::vector<uint8_t> whole =
      turned(resized(turned(wide, q.across.resized, q.down.canvas), q.across.resized, q.down.canvas, q.down.resized),
             q.down.resized, q.across.resized);
  std::vector<float> out;
  for (int64_t c = 0; c < 3; c++) {
    for (int64_t y = 0; y < q.side; y++) {
      for (int64_t x = 0; x < q.side; x++) {
        const int64_t u = x - q.across.margin, v = y - q.down.margin;
        const bool inside = u >= 0 && u < q.across.count && v >= 0 && v < q.down.count;
        const int64_t place = ((q.down.from + v) * q.across.resized + q.across.from + u) * 3 + c;
        out.push_back(q.values[static_cast<size_t>(256 * c + (inside ? whole[static_cast<size_t>(place)] : 0))]);
      }
    }
  }
  return out;
}

PictureAxis random_axis(Trial& t, int64_t size, int64_t canvas, int64_t resized, int64_t side) {
  const int64_t count = 1 + t.random.below(std::min(resized, side));
  return {.size = size,
          .canvas = canvas,
          .start = t.random.below(canvas - size + 1),
          .resized = resized,
          .from = t.random.below(resized - count + 1),
          .count = count,
          .margin = t.random.below(side - count + 1)};
}

// Sizes of 1 are frequent.
int64_t random_size(Trial& t, int64_t most) { return t.random.below(4) == 0 ? 1 : 1 + t.random.below(most); }

PictureRequest random_request(Trial& t, int64_t longest) {
  const int64_t width = random_size(t, longest), height = random_size(t, longest), side = random_size(t, 40);
  const int64_t more_width = t.random.below(2) * t.random.below(longest),
                more_height = t.random.below(2) * t.random.below(longest);
  PictureRequest q{random_axis(t, width, width + more_width, random_size(t, 60), side),
                   random_axis(t, height, height + more_height, random_size(t, 60), side),
                   side,
                   {},
                   t.random.values(3 * 256)};
  for (uint8_t& colour : q.fill) colour = static_cast<uint8_t>(t.random.below(256));
  return q;
}

// Noise, or black and white only, where sums leave the range of a byte.
std::vector<uint8_t> random_pixels(Trial& t, int64_t n) {
  std::vector<uint8_t> pixels;
  const bool extreme = t.random.below(2) == 0;
  for (const std::byte value : t.random.bytes(n)) {
    const auto byte = static_cast<uint8_t>(value);
    pixels.push_back(extreme ? static_cast<uint8_t>(byte < 128 ? 0 : 255) : byte);
  }
  return pixels;
}

void judge(Trial& t, const PictureRequest& q) {
  const std::vector<uint8_t> pixels = random_pixels(t, 3 * q.across.size * q.down.size);
  const std::vector<float> truth = expected(q, pixels);
  const std::atomic<bool> cancel{false};
  for (const ResizeLoops& loops : resize_loops()) {
    const Input<uint8_t> rgb(t, pixels);
    PictureResize resize(q, loops);
    resize.prepare(cancel);
    for (const int64_t bands : {1, 2, 3, 7}) {
      const Output<float> out(t, resize.values());
      for (int64_t band = bands; band-- > 0;) resize.compute(rgb, band, bands, out, cancel);
      t.exact(std::string(loops.isa) + " in " + std::to_string(bands) + " bands", out.values(), truth);
    }
  }
}

void small_pictures(Trial& t) {
  for (int i = 0; i < 40; i++) judge(t, random_request(t, 50));
}

// More pixels than are brought side by side at once, all of which some output sees.
void long_pictures(Trial& t) {
  for (int i = 0; i < 3; i++) {
    PictureRequest q = random_request(t, 20);
    const int64_t canvas = 700 + t.random.below(50), count = 1 + t.random.below(q.side);
    q.across = {.size = 700,
                .canvas = canvas,
                .start = t.random.below(canvas - 699),
                .resized = count,
                .from = 0,
                .count = count,
                .margin = t.random.below(q.side - count + 1)};
    judge(t, q);
    std::swap(q.across, q.down);
    judge(t, q);
  }
}

void expect(Trial& t, bool holds, const std::string& label) { t.exact<uint8_t>(label, {holds}, {true}); }

void refusals(Trial& t) {
  const PictureAxis good{.size = 5, .canvas = 8, .start = 2, .resized = 6, .from = 1, .count = 4, .margin = 3};
  const auto refused = [&](const PictureAxis& across, const PictureAxis& down, int64_t side, size_t values) {
    try {
      PictureResize(PictureRequest{across, down, side, {}, std::vector<float>(values)}, resize_loops().back());
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  expect(t, !refused(good, good, 7, 768), "what is right is taken");
  expect(t, refused(good, good, 6, 768), "an output that is too small");
  expect(t, refused(good, good, (1 << 15) + 1, 768), "an output that is too large");
  expect(t, refused(good, good, 7, 767), "a table that is too short");
  constexpr int64_t kFar = int64_t{1} << 53;
  const auto both = [&](int64_t PictureAxis::* field, std::initializer_list<int64_t> values) {
    for (const int64_t value : values) {
      PictureAxis bad = good;
      bad.*field = value;
      expect(t, refused(bad, good, 7, 768) && refused(good, bad, 7, 768), "a field of " + std::to_string(value));
    }
  };
  both(&PictureAxis::size, {-1, 0, 7, kFar});
  both(&PictureAxis::canvas, {-kFar, 0, 6, kLongestSide + 1});
  both(&PictureAxis::start, {-1, 4, kFar});
  both(&PictureAxis::resized, {-1, 0, 4});
  both(&PictureAxis::from, {-1, 3, kFar});
  both(&PictureAxis::count, {-1, 0, 6, kFar});
  both(&PictureAxis::margin, {-1, 4, kFar});
}

void cancelled(Trial& t) {
  const PictureAxis axis{.size = 9, .canvas = 9, .start = 0, .resized = 9, .from = 0, .count = 9, .margin = 0};
  PictureResize resize(PictureRequest{axis, axis, 9, {}, std::vector<float>(768)}, resize_loops().back());
  const std::vector<uint8_t> rgb(3 * 9 * 9);
  std::vector<float> out(3 * 9 * 9);
  const std::atomic<bool> no{false}, yes{true};
  const auto aborts = [](const auto& work) {
    try {
      work();
    } catch (const Error& error) {
      return error.code() == ErrorCode::kAborted;
    }
    return false;
  };
  expect(t, aborts([&] { resize.prepare(yes); }), "the tables stop");
  resize.prepare(no);
  expect(t, aborts([&] { resize.compute(rgb.data(), 0, 1, out.data(), yes); }), "a band stops");
}

}  // namespace

std::vector<Case> resize_cases() {
  return {
      {"pictures of all shapes on canvases are the plainest loop's, on every instruction set", small_pictures},
      {"long pictures are the plainest loop's, on every instruction set", long_pictures},
      {"requests that nothing can be made of are refused", refusals},
      {"a resize stops when it is cancelled", cancelled},
  };
}

}  // namespace llava::testing
