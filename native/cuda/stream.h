// The stream of a CUDA back end, its workspaces, and how ops see their arguments.
#pragma once
#include <cstring>
#include <vector>

#include "cuda/device.h"
#include "ops/backend.h"
#include "ops/device_address.h"

namespace llava::cuda {

// Device memory that grows and is kept: of one use each, as an op may need several at once.
class Workspace {
 public:
  explicit Workspace(Card& card) : card_(card) {}
  ~Workspace() { card_.free(memory_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  // Contents undefined; throws kOutOfMemory.
  template <class T>
  T* reserve(int64_t count) {
    const uint64_t wanted = static_cast<uint64_t>(count) * sizeof(T);
    if (wanted > nbytes_) grow(wanted);
    return static_cast<T*>(memory_);
  }
  uint64_t nbytes() const { return nbytes_; }

 private:
  void grow(uint64_t nbytes) {
    card_.wait();  // what it holds may still be read
    card_.free(memory_);
    memory_ = nullptr;
    nbytes_ = 0;
    memory_ = card_.allocate(nbytes);
    nbytes_ = nbytes;
  }

  Card& card_;
  void* memory_ = nullptr;
  uint64_t nbytes_ = 0;
};

// A list of the host's, on the device. All layers of a pass have the same, which is uploaded once.
class UploadedList {
 public:
  explicit UploadedList(Card& card) : card_(card), workspace_(card) {}
  const void* upload(const std::vector<std::byte>& list) {
    if (list != uploaded_) {
      uploaded_.clear();
      std::byte* const to = workspace_.reserve<std::byte>(static_cast<int64_t>(list.size()));
      card_.copy_in(to, list.data(), list.size());
      uploaded_ = list;
    }
    return workspace_.reserve<std::byte>(0);
  }
  uint64_t nbytes() const { return workspace_.nbytes(); }

 private:
  Card& card_;
  Workspace workspace_;
  std::vector<std::byte> uploaded_;
};

struct CudaStream : Stream {
  explicit CudaStream(int device)
      : card(device),
        activations(card),
        patches(card),
        partials(card),
        append_tables(card),
        attention_tables(card),
        weights_tables(card) {}
  uint64_t scratch_bytes() const override {
    return activations.nbytes() + patches.nbytes() + partials.nbytes() + append_tables.nbytes() +
           attention_tables.nbytes() + weights_tables.nbytes();
  }
  StreamHandle handle() const { return card.stream(); }

  Card card;
  int64_t ops = 0;  // put on it so far, the one under way included
  // What an op of few rows quantised beside its result (products.h).
  struct Beside {
    bool wanted = false;
    int64_t op = -1;  // that left it
    const float* x = nullptr;
    int64_t stride = 0, rows = 0, columns = 0;
  } beside;
  Workspace activations;  // of a product, as its kernels take them
  Workspace patches;      // of pictures, as rows
  Workspace partials;     // sums of parts of a product or of an attention
  UploadedList append_tables, attention_tables, weights_tables;
};

inline CudaStream& cuda_stream(Stream& s) { return static_cast<CudaStream&>(s); }

template <class T>
T* pointer(Device<T> place) {
  return DeviceAddress::pointer(place);
}
inline const float* pointer(const Vector& v) { return pointer(v.data); }
inline Rows<float> rows_of(const Activations& a) { return {pointer(a.data), a.stride}; }
inline Rows<const float> rows_of(const ConstActivations& a) { return {pointer(a.data), a.stride}; }
inline const uint8_t* bytes_of(const Weight& w) { return reinterpret_cast<const uint8_t*>(pointer(w.data)); }

#define OP(name, Args) void name(Stream& s, const Args& a);
#include "ops/ops.def"
#undef OP

}  // namespace llava::cuda
