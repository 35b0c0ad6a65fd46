// A CUDA card as a back end.
#pragma once
#include <memory>

#include "ops/backend.h"

namespace llava {

// device: an index among those that the driver shows (CUDA_VISIBLE_DEVICES). Throws kDeviceFailed where there is no
// driver, no such card, or none that the library has code for; kOutOfMemory.
std::shared_ptr<Backend> make_cuda_backend(int device);

}  // namespace llava
