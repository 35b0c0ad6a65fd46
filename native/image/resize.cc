// The plan of resize.h: which taps there are, and which rows meet when. resize-inl.h is compiled once for the
// instruction set that everything is compiled for and once for AVX2, where there is one.
#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "common/cpu_features.h"
#include "common/error.h"
#include "common/target_region.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // no vector crosses a binary interface here: all that take one are inlined

namespace llava {

namespace {

constexpr int kWeightBits = 22;
constexpr int32_t kHalf = 1 << (kWeightBits - 1);

namespace plain {
#include "image/resize-inl.h"
constexpr ResizeLoops kLoops = {"plain", side_by_side, add_across, finish_across, start_down, add_down, finish_down};
}  // namespace plain

#if defined(__x86_64__)
LLAVA_TARGET_BEGIN("avx2")
namespace avx2 {
#include "image/resize-inl.h"
constexpr ResizeLoops kLoops = {"avx2", side_by_side, add_across, finish_across, start_down, add_down, finish_down};
}  // namespace avx2
LLAVA_TARGET_END
#endif

constexpr int64_t kRows = plain::kRows;
constexpr int64_t kStep = plain::kStep;
constexpr int64_t kPixelsAtOnce = 256;  // side by side they are 24 KiB, and stay in an L1d of 32

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

void stop_if(const std::atomic<bool>& cancel) {
  if (cancel.load(std::memory_order_relaxed)) throw Error(ErrorCode::kAborted, "the work was cancelled");
}

// --- taps ------------------------------------------------------------------------------------------------------------

// Keys' cubic convolution kernel with a = -1/2.
double cubic(double t) {
  const double x = std::fabs(t);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

int32_t fixed_point(double weight) {
  return static_cast<int32_t>(weight * (1 << kWeightBits) + (weight < 0 ? -0.5 : 0.5));
}

double stretch(const PictureAxis& axis) {
  return std::max(static_cast<double>(axis.canvas) / static_cast<double>(axis.resized), 1.0);
}

// Canvas pixels that one output sees at most.
int64_t most_taps(const PictureAxis& axis) {
  return std::min(axis.canvas, static_cast<int64_t>(std::ceil(2 * stretch(axis))) * 2 + 1);
}

// The canvas pixels [lo, lo + count) that output u sees, and their weights as real numbers.
struct Window {
  int64_t lo, count;
};
Window window_of(const PictureAxis& axis, int64_t u, double* weights) {
  const double scale = static_cast<double>(axis.canvas) / static_cast<double>(axis.resized),
               support = 2 * stretch(axis), inverse = 1 / stretch(axis);
  const double centre = (static_cast<double>(axis.from + u) + 0.5) * scale;
  const int64_t lo = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
  const int64_t count = std::min(axis.canvas, static_cast<int64_t>(centre + support + 0.5)) - lo;
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += weights[i] = cubic((static_cast<double>(i + lo) - centre + 0.5) * inverse);
  for (int64_t i = 0; i < count; i++) weights[i] /= sum;
  return {lo, count};
}

// Adds the taps of one window that see the picture to the `stored` ones.
AxisTaps::Output add_taps(const PictureAxis& axis, const Window& window, const double* real, int32_t* weights,
                          int64_t stored) {
  const int64_t begin = std::clamp<int64_t>(window.lo - axis.start, 0, axis.size);
  const int64_t end = std::clamp<int64_t>(window.lo + window.count - axis.start, begin, axis.size);
  AxisTaps::Output output{stored, static_cast<int32_t>(begin), static_cast<int32_t>(end - begin), 0, 0};
  for (int64_t i = 0; i < window.count; i++) {
    const int32_t weight = fixed_point(real[i]);
    const int64_t source = window.lo + i - axis.start;
    output.total += weight;
    if (source >= begin && source < end)
      weights[stored++] = weight;
    else
      output.outside += weight;
  }
  return output;
}

AxisTaps taps_of(const PictureAxis& axis, const std::atomic<bool>& cancel) {
  AxisTaps taps{
      {},
      std::make_unique_for_overwrite<int32_t[]>(static_cast<size_t>(axis.count * std::min(most_taps(axis), axis.size))),
      axis.size,
      0,
      axis.count,
      0};
  taps.outputs.reserve(static_cast<size_t>(axis.count));
  const auto real = std::make_unique_for_overwrite<double[]>(static_cast<size_t>(most_taps(axis)));
  int64_t stored = 0;
  for (int64_t u = 0; u < axis.count; u++) {
    stop_if(cancel);
    const AxisTaps::Output output =
        add_taps(axis, window_of(axis, u, real.get()), real.get(), taps.weights.get(), stored);
    taps.outputs.push_back(output);
    if (output.count == 0) continue;
    stored = output.offset + output.count;
    taps.output_begin = std::min(taps.output_begin, u);
    taps.output_end = u + 1;
    taps.begin = std::min<int64_t>(taps.begin, output.first);
    taps.end = std::max<int64_t>(taps.end, output.first + output.count);
  }
  return taps;
}

// --- checks ----------------------------------------------------------------------------------------------------------

constexpr int64_t kLargestOutput = int64_t{1} << 15;  // far beyond any tower's picture, and its square far below 2^63

void check(bool holds, const char* what) {
  if (!holds) throw Error(ErrorCode::kInvalidArgument, std::string("expected ") + what);
}

void check_axis(const PictureAxis& axis, int64_t side) {
  check(axis.canvas >= 1 && axis.canvas <= kLongestSide, "a canvas of 1 to 2^22 pixels along each side");
  check(axis.size >= 1 && axis.size <= axis.canvas && axis.start >= 0 && axis.start <= axis.canvas - axis.size,
        "the picture to lie on its canvas");
  check(axis.resized >= 1 && axis.from >= 0 && axis.count >= 1 && axis.count <= axis.resized &&
            axis.from <= axis.resized - axis.count,
        "the wanted part to lie in the resized canvas");
  check(axis.margin >= 0 && axis.count <= side && axis.margin <= side - axis.count,
        "the wanted part to fit the output");
}

}  // namespace

std::vector<ResizeLoops> resize_loops() {
  std::vector<ResizeLoops> all = {plain::kLoops};
#if defined(__x86_64__)
  if (cpu_features().avx2) all.push_back(avx2::kLoops);
#endif
  return all;
}

PictureResize::PictureResize(PictureRequest request, const ResizeLoops& loops)
    : request_(std::move(request)), loops_(loops) {
  check(request_.side >= 1 && request_.side <= kLargestOutput, "an output of 1 to 2^15 pixels along each side");
  check(request_.values.size() == 3 * 256, "256 values for each channel");
  check_axis(request_.across, request_.side);
  check_axis(request_.down, request_.side);
}

// A band reads the source rows at its ends once more, which others read too: it should have several times as many of
// its own. A thread is woken for 2^17 pixels, which it takes some tenths of a millisecond.
int64_t PictureResize::bands(int64_t most) const {
  const PictureAxis& down = request_.down;
  const int64_t by_rows = down.size / (4 * most_taps(down)), by_pixels = request_.across.size * down.size >> 17;
  return std::max<int64_t>(1, std::min({most, by_rows, by_pixels}));
}

void PictureResize::prepare(const std::atomic<bool>& cancel) {
  across_ = taps_of(request_.across, cancel);
  down_ = taps_of(request_.down, cancel);
}

// --- bands -----------------------------------------------------------------------------------------------------------

// The work on rows [first, last) of the wanted part, and its scratch. Places in a row are bytes, [columns, 3]; a step
// of 16 of them may end beyond the last. Only rows that see source rows just read have sums: one begins with its first
// source row and is written with its last.
class PictureResize::Band {
 public:
  Band(const PictureResize& resize, int64_t first, int64_t last, float* out);
  void run(const uint8_t* rgb, const std::atomic<bool>& cancel);

 private:
  void start_tables();
  int64_t rows_at_once() const noexcept;
  void read(const uint8_t* rgb, int64_t y, int64_t count, const std::atomic<bool>& cancel);
  void add_pixels(int64_t from, int64_t to) noexcept;
  void add(int64_t y, int64_t count) noexcept;
  void start(int64_t o) noexcept;
  void write(int64_t o) noexcept;
  int32_t* sums(int64_t o) noexcept { return &sums_[static_cast<size_t>(o % slots_ * pitch_)]; }
  const AxisTaps::Output& column(int64_t u) const noexcept { return across_.outputs[static_cast<size_t>(u)]; }
  const AxisTaps::Output& row(int64_t o) const noexcept { return down_.outputs[static_cast<size_t>(o)]; }

  const PictureRequest& request_;
  const ResizeLoops& loops_;
  const AxisTaps &across_, &down_;
  float* out_;
  int64_t first_, last_, see_first_, see_last_;  // its rows, and those of them that see the picture
  int64_t left_, seen_;                          // what of a row sees the picture: [left, left + seen)
  int64_t pitch_, slots_;                        // of sums_ and rows_, from one row to the next; rows that have sums
  int64_t next_column_, next_row_, new_row_;     // the first that may see more; the first that has no sums yet
  std::vector<int32_t> canvas_;                  // [3 columns]: bytes of a source row that sees only canvas
  std::vector<int32_t> columns_;                 // [pixels at once, 3, 8]
  std::vector<int32_t> across_start_;            // [seen, 8]: rounding, and the canvas that a column sees
  std::vector<int32_t> across_sums_;             // [seen, 8]
  std::vector<int32_t> rows_;                    // [8, pitch], from `left` on: source rows, resized across
  std::vector<int32_t> sums_;                    // [slots, pitch]
};

PictureResize::Band::Band(const PictureResize& resize, int64_t first, int64_t last, float* out)
    : request_(resize.request_),
      loops_(resize.loops_),
      across_(resize.across_),
      down_(resize.down_),
      out_(out),
      first_(first),
      last_(last) {
  const bool sees = across_.output_begin < across_.output_end;
  see_first_ = sees ? std::clamp(down_.output_begin, first, last) : last;
  see_last_ = sees ? std::clamp(down_.output_end, see_first_, last) : last;
  left_ = 3 * across_.output_begin;
  seen_ = sees ? 3 * (across_.output_end - across_.output_begin) : 0;
  pitch_ = round_up(3 * request_.across.count + kStep, kStep);
  slots_ = rows_at_once();
  next_row_ = new_row_ = see_first_;
  start_tables();
  columns_.resize(static_cast<size_t>(round_up(3 * kPixelsAtOnce, kStep) * kRows));
  rows_.resize(static_cast<size_t>(pitch_ * kRows));
  sums_.resize(static_cast<size_t>(slots_ * pitch_));
}

void PictureResize::Band::start_tables() {
  canvas_.reserve(static_cast<size_t>(3 * request_.across.count));
  for (const AxisTaps::Output& each : across_.outputs) {
    for (const uint8_t value : request_.fill) {
      canvas_.push_back(std::clamp((kHalf + each.total * value) >> kWeightBits, 0, 255));
    }
  }
  across_start_.resize(static_cast<size_t>(round_up(seen_, kStep) * kRows));
  for (int64_t i = 0; i < seen_; i++) {
    const int32_t start = kHalf + column((left_ + i) / 3).outside * request_.fill[static_cast<size_t>(i % 3)];
    std::fill_n(&across_start_[static_cast<size_t>(i * kRows)], kRows, start);
  }
}

// Rows that see some source rows which are read together, at most.
int64_t PictureResize::Band::rows_at_once() const noexcept {
  int64_t most = 1;
  for (int64_t next = see_first_, fresh = see_first_, y = next < see_last_ ? row(next).first : 0; next < see_last_;) {
    y += kRows;
    while (fresh < see_last_ && row(fresh).first < y) fresh++;
    most = std::max(most, fresh - next);
    while (next < fresh && row(next).first + row(next).count <= y) next++;
  }
  return most;
}

void PictureResize::Band::run(const uint8_t* rgb, const std::atomic<bool>& cancel) {
  for (int64_t o = first_; o < last_; o++) {
    if (o >= see_first_ && o < see_last_) continue;
    start(o);
    write(o);
  }
  if (see_first_ == see_last_) return;
  const int64_t end = row(see_last_ - 1).first + row(see_last_ - 1).count;
  for (int64_t y = row(see_first_).first; y < end; y += kRows) {
    const int64_t count = std::min(kRows, end - y);
    read(rgb, y, count, cancel);
    add(y, count);
  }
}

// Resizes source rows [y, y + count) across, 8 at most.
void PictureResize::Band::read(const uint8_t* rgb, int64_t y, int64_t count, const std::atomic<bool>& cancel) {
  across_sums_ = across_start_;
  next_column_ = across_.output_begin;
  for (int64_t x = across_.begin; x < across_.end; x += kPixelsAtOnce) {
    stop_if(cancel);
    const int64_t to = std::min(x + kPixelsAtOnce, across_.end);
    const uint8_t* rows[kRows];  // beyond the last one, that one again
    for (int64_t r = 0; r < kRows; r++) {
      rows[r] = rgb + ((y + std::min(r, count - 1)) * request_.across.size + x) * 3;
    }
    loops_.side_by_side(rows, (to - x) * 3, columns_.data());
    add_pixels(x, to);
  }
  loops_.finish_across(across_sums_.data(), round_up(seen_, kStep), rows_.data(), pitch_);
}

// Pixels [from, to), which lie side by side, to the columns that see them.
void PictureResize::Band::add_pixels(int64_t from, int64_t to) noexcept {
  while (next_column_ < across_.output_end && column(next_column_).first + column(next_column_).count <= from) {
    next_column_++;
  }
  for (int64_t u = next_column_; u < across_.output_end && column(u).first < to; u++) {
    const int64_t begin = std::max<int64_t>(from, column(u).first);
    const int64_t end = std::min<int64_t>(to, column(u).first + column(u).count);
    loops_.add_across(&columns_[static_cast<size_t>((begin - from) * 3 * kRows)],
                      &across_.weights[static_cast<size_t>(column(u).offset + begin - column(u).first)], end - begin,
                      &across_sums_[static_cast<size_t>((3 * u - left_) * kRows)]);
  }
}

// What was read of source rows [y, y + count) to the rows that see it.
void PictureResize::Band::add(int64_t y, int64_t count) noexcept {
  for (; new_row_ < see_last_ && row(new_row_).first < y + count; new_row_++) start(new_row_);
  for (int64_t o = next_row_; o < new_row_; o++) {
    const int64_t begin = std::max<int64_t>(y, row(o).first);
    const int64_t end = std::min<int64_t>(y + count, row(o).first + row(o).count);
    loops_.add_down(&rows_[static_cast<size_t>((begin - y) * pitch_)], pitch_,
                    &down_.weights[static_cast<size_t>(row(o).offset + begin - row(o).first)], end - begin,
                    sums(o) + left_, round_up(seen_, kStep));
  }
  for (; next_row_ < new_row_ && row(next_row_).first + row(next_row_).count <= y + count; next_row_++) {
    write(next_row_);
  }
}

// Rounding, and what bare canvas gives: in columns that see the picture, rows of the picture are still to come.
void PictureResize::Band::start(int64_t o) noexcept {
  const int64_t right = left_ + seen_, end = 3 * request_.across.count;
  const auto part = [this, o](int64_t from, int64_t to, int32_t weight) {
    if (from < to) loops_.start_down(&canvas_[static_cast<size_t>(from)], weight, sums(o) + from, to - from);
  };
  part(0, seen_ > 0 ? left_ : end, row(o).total);
  if (seen_ == 0) return;
  part(left_, right, row(o).outside);
  part(right, end, row(o).total);
}

void PictureResize::Band::write(int64_t o) noexcept {
  const int64_t side = request_.side;
  float* const begin = out_ + (request_.down.margin + o) * side + request_.across.margin;
  float* const planes[3] = {begin, begin + side * side, begin + 2 * side * side};
  loops_.finish_down(sums(o), request_.across.count, request_.values.data(), planes);
}

// The wanted rows that see the picture are divided evenly; what lies above and below them goes to the first band and
// the last.
void PictureResize::compute(const uint8_t* rgb, int64_t band, int64_t bands, float* out,
                            const std::atomic<bool>& cancel) const {
  const int64_t side = request_.side, margin = request_.down.margin, count = request_.down.count;
  const int64_t seeing = std::max<int64_t>(0, down_.output_end - down_.output_begin);
  const int64_t top = std::min(down_.output_begin, down_.output_end);
  const int64_t first = band == 0 ? 0 : top + seeing * band / bands;
  const int64_t last = band == bands - 1 ? count : top + seeing * (band + 1) / bands;
  if (count < side || request_.across.count < side) {  // black around what is wanted
    const int64_t begin = band == 0 ? 0 : margin + first, end = band == bands - 1 ? side : margin + last;
    for (int64_t c = 0; c < 3; c++) {
      std::fill(out + (c * side + begin) * side, out + (c * side + end) * side,
                request_.values[static_cast<size_t>(256 * c)]);
    }
  }
  Band(*this, first, last, out).run(rgb, cancel);
}

}  // namespace llava
