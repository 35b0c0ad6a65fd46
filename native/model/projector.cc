// The two-layer projector (LlavaMultiModalProjector): linear_2(gelu(linear_1(image_features))), gelu the exact erf form.
#include "model/llava.h"

namespace llava {

Activations Llava::projector(ConstActivations features) {
  const VisionWeights& w = weights_.vision;
  const int64_t D = config_.text.hidden_size;
  const Activations hidden = stream_.arena.rows(features.rows, D);     // [P, D]
  const Activations projected = stream_.arena.rows(features.rows, D);  // [P, D]
  ops_.linear(stream_, {.x = features, .arithmetic = arithmetic_, .output = {{.weight = w.linear_1.weight, .bias = w.linear_1.bias, .activation = Activation::kGelu, .y = hidden}}});
  ops_.linear(stream_, {.x = hidden, .arithmetic = arithmetic_, .output = {{.weight = w.linear_2.weight, .bias = w.linear_2.bias, .y = projected}}});
  return projected;
}

}  // namespace llava
