// Patch embedding as a product: its rows are the pictures' patches.
#include "cuda/elements.cuh"
#include "cuda/products.h"

namespace llava::cuda {

namespace {

// patches[b * P + p, c * patch^2 + i * patch + j] of pixel_values[b, 3, S, S]
struct Patches {
  const float* pixels;
  int64_t size, patch, grid;
  float* patches;
  __device__ void operator()(int64_t row, int64_t column) const {
    const int64_t area = patch * patch, channel = column / area, i = column % area / patch, j = column % patch;
    const int64_t picture = row / (grid * grid), p = row % (grid * grid);
    const int64_t y = p / grid * patch + i, x = p % grid * patch + j;
    st(patches + row * 3 * area + column, ld(pixels + ((picture * 3 + channel) * size + y) * size + x));
  }
};

struct ClassRows {
  const float* class_embedding;
  Rows<const float> positions;
  int64_t rows;  // of a picture
  Rows<float> y;
  __device__ void operator()(int64_t picture, int64_t column) const {
    st(y.row(picture * rows) + column, ld(class_embedding + column) + ld(positions.row(0) + column));
  }
};

}  // namespace

void patch_embed(Stream& s, const PatchEmbedArgs& a) {
  CudaStream& stream = cuda_stream(s);
  const int64_t grid = a.image_size / a.patch_size, patches = grid * grid, before = a.class_embedding ? 1 : 0;
  const int64_t K = a.weight.cols, M = a.pictures * patches;
  if (before == 1)
    for_each_element(
        stream.handle(), a.pictures, a.y.cols,
        ClassRows{pointer(a.class_embedding), rows_of(a.position_embedding), before + patches, rows_of(a.y)});
  if (patches == 0) return;
  float* const rows = stream.patches.reserve<float>(M * K);
  for_each_element(stream.handle(), M, K, Patches{pointer(a.pixel_values), a.image_size, a.patch_size, grid, rows});
  const Product product{
      {rows, K},
      M,
      K,
      a.weight,
      {pointer(a.bias), 1.0f, Activation::kNone, rows_of(a.position_embedding), rows_of(a.y), {patches, before}}};
  multiply(stream, a.arithmetic, &product, 1);
}

}  // namespace llava::cuda
