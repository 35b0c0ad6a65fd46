// The patch convolution of CLIP and SigLIP as a product: stride = kernel size, so each patch is one row of 3 * patch^2 values.
#include <cstring>

#include "cpu/stream.h"

namespace llava::cpu {

void patch_embed(Stream& s, const PatchEmbedArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const int64_t patch = a.patch_size, size = a.image_size, grid = size / patch, patches = grid * grid, width = a.y.cols;
  const Activations rows = stream.arena.rows(patches, 3 * patch * patch);  // [P, 3 patch^2]
  stream.parallel_rows(patches, [&](int64_t first, int64_t count) {
    for (int64_t p = first; p < first + count; p++) {
      const float* corner = a.pixel_values + p / grid * patch * size + p % grid * patch;
      for (int64_t line = 0; line < 3 * patch; line++) {
        const float* from = corner + (line / patch * size + line % patch) * size;
        std::memcpy(rows.row(p) + line * patch, from, static_cast<size_t>(patch) * sizeof(float));
      }
    }
  });
  const int64_t class_rows = a.class_embedding != nullptr ? 1 : 0;
  const ConstActivations positions(a.position_embedding + class_rows * width, patches, width);
  linear(s, {.x = rows, .output = {{.weight = a.weight, .bias = a.bias, .residual = positions, .y = a.y.slice(class_rows, patches)}}});
  if (class_rows > 0) stream.kernels.add(a.class_embedding, a.position_embedding, a.y.row(0), width);
}

}  // namespace llava::cpu
