// The one exception of native code: a stable code (the same list as lib/errors.ts) and a sentence.
#pragma once
#include <stdexcept>
#include <string>

namespace llava {

enum class ErrorCode {
  kInvalidArgument,
  kModelNotFound,
  kModelCorrupt,
  kModelUnsupported,
  kContextOverflow,
  kDisposed,
  kAborted,
  kOutOfMemory,
  kDeviceUnavailable,
  kDeviceFailed,
  kInternal
};

constexpr const char* code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "INVALID_ARGUMENT";
    case ErrorCode::kModelNotFound: return "MODEL_NOT_FOUND";
    case ErrorCode::kModelCorrupt: return "MODEL_CORRUPT";
    case ErrorCode::kModelUnsupported: return "MODEL_UNSUPPORTED";
    case ErrorCode::kContextOverflow: return "CONTEXT_OVERFLOW";
    case ErrorCode::kDisposed: return "DISPOSED";
    case ErrorCode::kAborted: return "ABORTED";
    case ErrorCode::kOutOfMemory: return "OUT_OF_MEMORY";
    case ErrorCode::kDeviceUnavailable: return "DEVICE_UNAVAILABLE";
    case ErrorCode::kDeviceFailed: return "DEVICE_FAILED";
    case ErrorCode::kInternal: break;
  }
  return "INTERNAL";
}

class Error : public std::runtime_error {  // whose copies share one message: handing an error on cannot fail
 public:
  Error(ErrorCode code, const std::string& message) : runtime_error(message), code_(code) {}
  // copying only: std::runtime_error moves from GLIBCXX_3.4.26 on
  Error(const Error&) = default;
  Error& operator=(const Error&) = default;
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace llava
