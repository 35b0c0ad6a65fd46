// A picture in bytes to the floats that a vision tower takes: resized as Pillow does it, byte for byte, cropped, and
// each byte looked up in a table.
//   weight_i = f((i + lo - centre + 1/2) / max(scale, 1)) / sum,  as 22-bit fixed point;  pixel = clamp((2^21 + sum
//   weight_i * source_i) >> 22)
// f is Keys' cubic with a = -1/2 (Pillow's BICUBIC), stretched when shrinking. Across to 8 bits first, then down: the
// order of Pillow up to 12, and of 13 too, but where that goes down first because it is less work.
//   - Only the wanted part of the resized picture is computed, and the canvas around the picture is one colour that is
//   never stored: its taps are summed up
//     beforehand, which is exact because everything is integer arithmetic.
//   - Bands of output rows are independent, so that threads share a picture. A band reads 8 source rows at a time, side
//   by side: lanes are rows, so that a weight
//     meets 8 pixels at once wherever its taps begin. Rows that come of it are added at once to the sums of the few
//     output rows that see them.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace llava {

// One axis: `size` pixels from `start` on of a canvas, which becomes `resized`; [from, from + count) of that is wanted,
// and goes to `margin` and on.
struct PictureAxis {
  int64_t size, canvas, start, resized, from, count, margin;
};

struct PictureRequest {
  PictureAxis across, down;
  int64_t side;                 // S of the output; where nothing of the picture goes, all bytes are 0
  std::array<uint8_t, 3> fill;  // colour of the canvas
  std::vector<float> values;    // [3, 256]: what stands for each byte in each channel
};

// Above this side of a canvas, weights of 22 bits come too near to zero to be of use.
constexpr int64_t kLongestSide = int64_t{1} << 22;

// The loops over pixels, for one instruction set. Where n divides by 16, it does so by padding.
struct ResizeLoops {
  const char* isa;
  // columns[n, 8] of 8 rows of n bytes, written to the next 16.
  void (*side_by_side)(const uint8_t* const* rows, int64_t n, int32_t* columns) noexcept;
  // sums[3, 8] += weights[taps] * pixels[taps, 3, 8]
  void (*add_across)(const int32_t* pixels, const int32_t* weights, int64_t taps, int32_t* sums) noexcept;
  // rows[8, pitch] = the bytes of sums[n, 8]; n divides by 16.
  void (*finish_across)(const int32_t* sums, int64_t n, int32_t* rows, int64_t pitch) noexcept;
  // sums[n] = 1/2 + weight * canvas[n]
  void (*start_down)(const int32_t* canvas, int32_t weight, int32_t* sums, int64_t n) noexcept;
  // sums[n] += weights[taps] * rows[taps, pitch]; n divides by 16.
  void (*add_down)(const int32_t* rows, int64_t pitch, const int32_t* weights, int64_t taps, int32_t* sums,
                   int64_t n) noexcept;
  // planes[3][n] = values[3, 256] at the bytes of sums[n, 3], which become those bytes, to the next 8.
  void (*finish_down)(int32_t* sums, int64_t n, const float* values, float* const* planes) noexcept;
};

// Those this CPU can execute, fastest last. All give the same bits.
std::vector<ResizeLoops> resize_loops();

// The taps of one axis: output u sums weights[offset[u] + t] * source[first[u] + t] for t < count[u], and outside[u]
// times the canvas colour.
struct AxisTaps {
  struct Output {
    int64_t offset;
    int32_t first, count;
    int32_t outside, total;  // of its weights: those that see the canvas, and all
  };
  std::vector<Output> outputs;
  std::unique_ptr<int32_t[]> weights;
  int64_t begin, end;                // source pixels that any output sees
  int64_t output_begin, output_end;  // outputs that see any
};

class PictureResize {
 public:
  PictureResize(PictureRequest request, const ResizeLoops& loops);  // throws kInvalidArgument

  int64_t values() const { return 3 * request_.side * request_.side; }
  // Into how many bands, `most` at most, it is worth to divide the work.
  int64_t bands(int64_t most) const;
  // Makes the tables of taps, before any band is computed. Throws kAborted.
  void prepare(const std::atomic<bool>& cancel);
  // Rows of out[3, S, S] that belong to `band`; rgb is [height, width, 3]. Throws kAborted, with nothing to be relied
  // on in those rows.
  void compute(const uint8_t* rgb, int64_t band, int64_t bands, float* out, const std::atomic<bool>& cancel) const;

 private:
  class Band;
  PictureRequest request_;
  ResizeLoops loops_;
  AxisTaps across_, down_;
};

}  // namespace llava
