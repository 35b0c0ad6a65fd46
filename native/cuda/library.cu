// llava_cuda.so: the CUDA back end as a library that is opened at run time.
#include <algorithm>

#include "cuda/backend.h"
#include "cuda/device.h"
#include "ops/export_backend.h"

namespace llava::cuda {

namespace {

void list(LibraryDevices& devices) {
  const Cards there = cards();
  devices.count = std::min(there.count, LibraryDevices::kMost);
  if (there.count == 0) {
    devices.problem = there.has_driver ? DeviceProblem::kNoDevice : DeviceProblem::kNoDriver;
    put_text(devices.detail, there.detail);
  }
  for (int i = 0; i < devices.count; i++) {
    const DeviceProperties found = device_properties(i);
    LibraryDevice& device = devices.device[i];
    put_text(device.name, found.name);
    put_text(device.capability, found.capability);
    device.total_bytes = found.total_bytes;
    device.free_bytes = found.free_bytes;
    if (has_code_for(i)) continue;
    device.problem = DeviceProblem::kTooOld;
    put_text(device.detail, "sm_80 and later are supported");
  }
}

std::shared_ptr<Backend> open(const LibraryOptions& options) { return make_cuda_backend(options.device); }

}  // namespace

}  // namespace llava::cuda

LLAVA_EXPORT_BACKEND("cuda", "0.1.0", llava::cuda::list, llava::cuda::open)
