// The one exception of native code: a stable code (the same list as lib/errors.ts) and a sentence.
#pragma once
#include <exception>
#include <string>
#include <utility>

namespace llava {

enum class ErrorCode { kInvalidArgument, kModelNotFound, kModelCorrupt, kModelUnsupported, kContextOverflow, kDisposed, kAborted, kOutOfMemory, kInternal };

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
    case ErrorCode::kInternal: break;
  }
  return "INTERNAL";
}

class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
};

}  // namespace llava
