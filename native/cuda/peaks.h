// What this card does at most, measured: the roofs that ops are held against.
#pragma once
#include "cuda/stream.h"

namespace llava::cuda {

Peak measure_peak(CudaStream& stream, PeakKind kind);

}  // namespace llava::cuda
