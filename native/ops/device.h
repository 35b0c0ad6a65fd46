// Addresses in a back end's memory, and its owners.
//   Nothing here turns an address into a pointer: ops/device_address.h does, for back ends alone. What the host has is
//   a std::span.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace llava {

// Where values of type T lie on the device. Null by default.
template <class T>
class Device {
 public:
  constexpr Device() = default;
  constexpr Device(std::nullptr_t) {}
  template <class U>
    requires(!std::is_same_v<T, U> && std::is_convertible_v<U*, T*>)
  constexpr Device(Device<U> other) : address_(other.address_) {}

  constexpr Device operator+(int64_t count) const { return Device(address_ + count); }
  constexpr explicit operator bool() const { return address_ != nullptr; }
  constexpr bool operator==(const Device&) const = default;
  // The same place, seen as values of another type.
  template <class U>
  Device<U> as() const {
    return Device<U>(reinterpret_cast<U*>(address_));
  }

 private:
  template <class>
  friend class Device;
  friend struct DeviceAddress;
  constexpr explicit Device(T* address) : address_(address) {}
  T* address_ = nullptr;
};

using DeviceBytes = Device<std::byte>;

// Device memory with an owner; given back from any thread when it is destroyed. It keeps alive what it lies in, not the
// back end.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(std::shared_ptr<const void> owner, DeviceBytes data, uint64_t nbytes)
      : owner_(std::move(owner)), data_(data), nbytes_(nbytes) {}
  DeviceMemory(DeviceMemory&& other) noexcept
      : owner_(std::move(other.owner_)),
        data_(std::exchange(other.data_, {})),
        nbytes_(std::exchange(other.nbytes_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    owner_ = std::move(other.owner_);
    data_ = std::exchange(other.data_, {});
    nbytes_ = std::exchange(other.nbytes_, 0);
    return *this;
  }

  DeviceBytes data() const { return data_; }
  uint64_t nbytes() const { return nbytes_; }
  explicit operator bool() const { return static_cast<bool>(data_); }

 private:
  std::shared_ptr<const void> owner_;
  DeviceBytes data_;
  uint64_t nbytes_ = 0;
};

}  // namespace llava
