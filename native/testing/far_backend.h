// A back end whose memory nobody reaches but itself: the CPU's ops, on memory that lies in pages without access except
// while one of its own verbs or ops runs. Whoever touches device memory from the host, or touches it beside an operand
// that ends a page, faults.
#pragma once
#include <memory>

#include "cpu/kernels/table.h"
#include "ops/backend.h"

namespace llava::testing {

// threads 0: as many as this process may use.
std::shared_ptr<Backend> make_far_backend(int threads, const KernelTable& kernels);

}  // namespace llava::testing
