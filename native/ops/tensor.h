// Views: an address and a shape. Owners are DeviceMemory alone: adopted files (weights), Arena (activations), KvPage
// (keys and values).
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/dtype.h"
#include "ops/device.h"

namespace llava {

// [rows, cols], rows `stride` values apart. Address is a Device<T>, or inside a back end a T*.
template <class Address>
struct RowsAt {
  Address data{};
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  RowsAt() = default;
  RowsAt(Address d, int64_t r, int64_t c) : data(d), rows(r), cols(c), stride(c) {}
  RowsAt(Address d, int64_t r, int64_t c, int64_t s) : data(d), rows(r), cols(c), stride(s) {}
  template <class Other>
    requires(!std::is_same_v<Address, Other> && std::is_convertible_v<Other, Address>)
  RowsAt(const RowsAt<Other>& other) : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

  Address row(int64_t i) const { return data + i * stride; }
  RowsAt slice(int64_t first, int64_t count) const { return RowsAt(row(first), count, cols, stride); }
  explicit operator bool() const { return static_cast<bool>(data); }
};

// Activations, f32.
using Activations = RowsAt<Device<float>>;
using ConstActivations = RowsAt<Device<const float>>;

// f32 values in a row: a bias, the weight of a norm.
struct Vector {
  Device<const float> data{};
  int64_t length = 0;
  explicit operator bool() const { return static_cast<bool>(data); }
};

// A weight matrix [rows = out, cols = in] in its file's own layout; possibly unaligned.
struct Weight {
  Device<const std::byte> data{};
  DType dtype = DType::F32;
  int64_t rows = 0;
  int64_t cols = 0;

  int64_t row_bytes() const { return llava::row_bytes(dtype, cols); }
  Device<const std::byte> row(int64_t i) const { return data + i * row_bytes(); }
  explicit operator bool() const { return static_cast<bool>(data); }
};

}  // namespace llava
