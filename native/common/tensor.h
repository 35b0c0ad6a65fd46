// Views: a pointer and a shape. Owners are MappedFile (weights), Arena (activations) and KvPage (keys and values).
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace llava {

// Activations [rows, cols], f32, rows `stride` values apart.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  Rows() = default;
  Rows(T* d, int64_t r, int64_t c) : data(d), rows(r), cols(c), stride(c) {}
  Rows(T* d, int64_t r, int64_t c, int64_t s) : data(d), rows(r), cols(c), stride(s) {}
  template <class U>
    requires(!__is_same(T, U))
  Rows(const Rows<U>& other) : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

  T* row(int64_t i) const { return data + i * stride; }
  Rows slice(int64_t first, int64_t count) const { return Rows(row(first), count, cols, stride); }
};

using Activations = Rows<float>;
using ConstActivations = Rows<const float>;

// A weight matrix [rows = out, cols = in] in its file's own layout; possibly unaligned.
struct Weight {
  const std::byte* data = nullptr;
  DType dtype = DType::F32;
  int64_t rows = 0;
  int64_t cols = 0;

  int64_t row_bytes() const { return llava::row_bytes(dtype, cols); }
  const std::byte* row(int64_t i) const { return data + i * row_bytes(); }
  explicit operator bool() const { return data != nullptr; }
};

}  // namespace llava
