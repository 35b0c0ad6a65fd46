// What every pass of a model does on its back end: products with their adapters, blocks of a tower.
//   Holds the ops, the arenas of a pass and of one layer; the models hold it.
#pragma once
#include <algorithm>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "model/weights.h"
#include "ops/arena.h"

namespace llava {

// The op table of a back end on its stream.
class Ops {
 public:
  explicit Ops(Backend& backend) : table_(backend.ops()), stream_(backend.stream()) {}
#define OP(name, Args) \
  void name(const Args& args) const { table_.name(stream_, args); }
#include "ops/ops.def"
#undef OP

 private:
  const OpTable& table_;
  Stream& stream_;
};

// y = activation(linear(x)) or linear(x) + residual, the adapter's share included.
struct Projection {
  const Linear& linear;
  Activations y;
  Activation activation = Activation::kNone;
  ConstActivations residual{};
};

// What the blocks of a tower need to know.
struct ClipBlock {
  int64_t heads;
  int64_t intermediate_size;
  float layer_norm_eps;
  Activation activation;
  bool causal;
};

// Pictures of one pass of so many rows. A picture gives the same bits alone and beside others: products of float
// weights never pass from few rows to many by its company.
constexpr int64_t pictures_at_once(const VisionConfig& c, int64_t tower_rows) {
  if (c.image_rows() <= kFewRows) return std::max<int64_t>(1, kFewRows / c.rows());
  return std::clamp<int64_t>(tower_rows / c.rows(), 1, kFewRows);
}

class Passes {
 public:
  Passes(Backend& backend, Arithmetic arithmetic)
      : backend(backend),
        tower_rows(backend.info().tower_rows),
        ops(backend),
        arena(backend),
        layer_arena(backend),
        arithmetic_(arithmetic) {}

  Backend& backend;
  const int64_t tower_rows;  // of a pass
  const Ops ops;
  Arena arena;        // activations of the pass under way
  Arena layer_arena;  // activations inside one layer

  // between_products: run before each product, so that work that must not wait for this pass has its turn; it may use
  // the back end, but not these arenas. It says whether there is such work at present: then long products are cut.
  void begin(const Cancellation& cancel, std::function<bool()> between_products = {});
  void stop_if_cancelled() const;  // throws kAborted
  Arithmetic arithmetic() const { return arithmetic_; }
  uint64_t activation_bytes() const { return arena.capacity() + layer_arena.capacity(); }

  // The host's values in memory of the pass.
  template <class T>
  Device<T> taken(std::span<const T> values) {
    const Device<T> place = arena.take<T>(static_cast<int64_t>(values.size()));
    copy_in(backend, place, values);
    return place;
  }
  // Up to three projections that share x, once others had their turn.
  void project(ConstActivations x, std::initializer_list<Projection> projections);

  // pixel_values[B, 3, S, S] -> hidden_states[layers]: [B * Tv, Dv], one picture after the other.
  Activations vision_tower(const VisionConfig& c, const VisionWeights& w, Device<const float> pixel_values,
                           int64_t pictures);
  // SigLIP's rows of pictures one after the other [B * Tv, Dv] -> one row a picture: [B, Dv]
  Activations pooling_head(const VisionConfig& c, const PoolingHead& w, ConstActivations rows, int64_t pictures);
  // Texts one after the other, lengths[i] ids of each -> final_layer_norm(hidden_states): [T, D]. CLIP's is causal,
  // SigLIP's is not.
  Activations text_tower(const ClipTextConfig& c, const ClipTextWeights& w, std::span<const int32_t> ids,
                         std::span<const int64_t> lengths, bool causal);

 private:
  // Room for keys and values of sequences of these lengths; all of them are rows of the batch.
  struct OwnPages {
    std::vector<std::vector<DeviceBytes>> pages;
    std::vector<KvSequence> sequences;
  };
  OwnPages own_pages(const KvLayout& layout, std::span<const int64_t> lengths);
  KvType kv_type() const { return arithmetic_ == Arithmetic::kExact ? KvType::kF32 : backend.info().tower_kv; }
  void clip_blocks(const ClipBlock& block, const std::vector<ClipLayer>& layers, std::span<const int64_t> lengths,
                   Activations x);
  void clip_block(const ClipBlock& block, const ClipLayer& layer, const KvPages& cache, Activations x);

  bool let_others_run();
  int64_t rows_of_run(int64_t rows, int64_t multiplications) const;
  void multiply(const LinearArgs& product, int64_t multiplications);

  Arithmetic arithmetic_;
  double seconds_per_multiplication_ = 0;  // of the last product; on the host's clock, so next to nothing on a device
  std::function<bool()> between_products_;
};

}  // namespace llava
