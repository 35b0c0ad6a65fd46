// The projector (LlavaMultiModalProjector; mlpNx_gelu of the original): N linear layers with exact-erf GELU between
// them.
#include "model/llava.h"

namespace llava {

Activations Llava::projector(ConstActivations features) {
  ConstActivations x = features;
  Activations y;
  for (size_t i = 0; i < weights_.projector.size(); i++) {
    const bool last = i + 1 == weights_.projector.size();
    y = tower_.arena.rows(features.rows, config_.text.hidden_size);  // [B * P, D]
    tower_.project(x, {{weights_.projector[i], y, last ? Activation::kNone : Activation::kGelu}});
    x = y;
  }
  return y;
}

}  // namespace llava
