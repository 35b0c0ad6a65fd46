// The CPU's device memory is the process's own: an address is a pointer.
#pragma once
#include "ops/device_address.h"

namespace llava::cpu {

template <class T>
using HostRows = RowsAt<T*>;

template <class T>
T* host(Device<T> place) {
  return DeviceAddress::pointer(place);
}
template <class T>
HostRows<T> host(const RowsAt<Device<T>>& rows) {
  return {host(rows.data), rows.rows, rows.cols, rows.stride};
}
// The other way, for scratch that one op hands to another.
template <class T>
RowsAt<Device<T>> device(const HostRows<T>& rows) {
  return {DeviceAddress::of(rows.data), rows.rows, rows.cols, rows.stride};
}
inline const float* host(const Vector& vector) { return host(vector.data); }

}  // namespace llava::cpu
