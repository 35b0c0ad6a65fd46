// The CPU as a back end.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace llava {

// threads 0: as many as this process may use. isa "auto": the best this CPU has; throws kInvalidArgument for one it
// lacks. copies_weights: files are adopted as copies on large pages; default their mappings.
std::shared_ptr<Backend> make_cpu_backend(int threads, const std::string& isa, bool copies_weights = false);

// Kernel tables this CPU can execute, weakest first.
std::vector<std::string> cpu_isas();

}  // namespace llava
