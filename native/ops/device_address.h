// The pointer behind a device address: for back ends, whose memory it is. No file above them includes this.
#pragma once
#include "ops/tensor.h"

namespace llava {

struct DeviceAddress {
  template <class T>
  static T* pointer(Device<T> place) {
    return place.address_;
  }
  template <class T>
  static Device<T> of(T* pointer) {
    return Device<T>(pointer);
  }
};

}  // namespace llava
