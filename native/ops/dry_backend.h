// A back end that computes nothing and counts what memory it is asked for: a model opened and run on it says what it
// would take elsewhere.
#pragma once
#include <memory>

#include "ops/backend.h"

namespace llava {

// Pages of keys and values are as large as those of `real`, which must outlive it.
std::shared_ptr<Backend> make_dry_backend(const Backend& real);

}  // namespace llava
