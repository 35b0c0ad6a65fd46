// Activations as int8 blocks of 32 with a common float: x = D * 2^e * q, where D belongs to the token and e to the
// block (block floating point).
//   A power of two costs the tile nothing. An integer sum n added to the bits of the float 1.5 * 2^23 * 2^e (its
//   "origin") gives origin + 2^e n, exactly, while |n| < 2^22; so the sum starts at the origin's bits and one
//   subtraction makes it a scaled float, in place of a conversion and a product. D is chosen, in eighths of an octave,
//   so that the steps D * 2^e of all blocks are smallest in the mean square; applied once to each output. A value that
//   stands far above the rest of its block would make the step coarse for all of it. A few such outliers of a token are
//   left out of their blocks and multiplied in float (outliers.h). LLM.int8() (Dettmers et al. 2022) does so by columns
//   of a whole batch; here each token has its own, so that its company is nothing to it.
#pragma once
#include "cpu/kernels/table.h"

namespace llava::cpu {

// Blocks smaller than 2^kSmallestExponent of the token's largest value count as zero.
constexpr int kSmallestExponent = -60;

// From the largest magnitudes of a token's blocks: origin[b] and inverse[b] = 1 / (D 2^e) of each block; returns D,
// which is 0 for a token of nothing and NaN for one that holds an infinity or NaN. inverse may be largest.
float choose_scales(const float* largest, int64_t blocks, float* origin, float* inverse);

// A block's error is about in proportion to the square of its largest value: an outlier is what brings the sum of
// these squares down by this share. With 2 and 0.2 the KL divergence on SmolLM2-135M (bench fidelity --text) is 0.4 of
// what it is without outliers; with 4 and 0.15 it is a third, for twice the time.
constexpr int kMostOutliers = 2;
constexpr float kOutlierShare = 0.2f;

struct Outlier {
  int32_t column;
  float value;
};
struct Outliers {
  int32_t count;
  Outlier of[kMostOutliers];
};

// Chooses the outliers of a token, and makes largest what it is without them.
// A token that holds an infinity or NaN has none.
Outliers take_outliers(const float* x, int64_t blocks, float* largest);

// Block b of x with zeros for outliers.
void copy_without(const Outliers& outliers, const float* x, int64_t b, float* rest);

// What a row of n values becomes, by the plainest loops: rounded[i] = D * 2^e * q of x[i], or x[i] itself of an
// outlier. For those who hold the products against a reference.
void round_to_blocks(const float* x, int64_t n, double* rounded);

}  // namespace llava::cpu
