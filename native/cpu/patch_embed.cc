// The patch convolution of CLIP and SigLIP as a product: stride = kernel size, so each patch is one row of 3 * patch^2
// values.
//   The patches of all pictures are one product; positions are added, and class rows put in, on the way to y.
#include <cstring>

#include "cpu/host_view.h"
#include "cpu/stream.h"

namespace llava::cpu {

namespace {

// The values of patch p of one picture, channel by channel, line by line.
void gather_patch(const float* pixel_values, int64_t size, int64_t patch, int64_t p, float* row) {
  const int64_t grid = size / patch;
  const float* corner = pixel_values + p / grid * patch * size + p % grid * patch;
  for (int64_t line = 0; line < 3 * patch; line++) {
    const float* from = corner + (line / patch * size + line % patch) * size;
    std::memcpy(row + line * patch, from, static_cast<size_t>(patch) * sizeof(float));
  }
}

}  // namespace

void patch_embed(Stream& s, const PatchEmbedArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const int64_t size = a.image_size, grid = size / a.patch_size, patches = grid * grid, width = a.y.cols,
                depth = a.weight.cols;
  const int64_t class_rows = a.class_embedding ? 1 : 0;
  // [B * P, 3 patch^2], [B * P, Dv]
  const auto [gathered, products] = stream.patches(a.pictures * patches, depth, width);
  stream.parallel_rows(gathered.rows, [&, rows = gathered](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; r++) {
      gather_patch(host(a.pixel_values) + r / patches * 3 * size * size, size, a.patch_size, r % patches, rows.row(r));
    }
  });
  linear(s, {.x = device(gathered),
             .arithmetic = a.arithmetic,
             .output = {{.weight = a.weight, .bias = a.bias, .y = device(products)}}});
  stream.parallel_rows(a.y.rows, [&, rows = products](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; r++) {
      const int64_t picture = r / (class_rows + patches), row = r % (class_rows + patches);
      const float* embedding =
          row < class_rows ? host(a.class_embedding) : rows.row(picture * patches + row - class_rows);
      stream.kernels.add(embedding, host(a.position_embedding.row(row)), host(a.y.row(r)), width);
    }
  });
}

}  // namespace llava::cpu
