// y[1 + P, Dv]: the class row, and the patch convolution as a product, with positions added.
#include "bench/measured_ops.h"
#include "bench/operand_sets.h"

namespace llava::bench {

namespace {

constexpr int64_t kSampledPatches = 8, kSampledColumns = 64;

class PatchEmbedOp : public MeasuredOp {
 public:
  PatchEmbedOp(cpu::CpuStream& stream, const OpRequest& r) : request_(r), grid_(r.image_size / r.patch_size), depth_(3 * r.patch_size * r.patch_size) {
    weight_ = take_dense(arena_, stream, r.columns, depth_, 0.07f, seed_of(r.seed, 1, 0));
    class_embedding_ = take_dense(arena_, stream, 1, r.columns, 1, seed_of(r.seed, 2, 0));
    positions_ = take_dense(arena_, stream, 1 + grid_ * grid_, r.columns, 1, seed_of(r.seed, 3, 0));
    y_ = arena_.rows(1 + grid_ * grid_, r.columns);
    const int64_t set_bytes = 3 * r.image_size * r.image_size * static_cast<int64_t>(sizeof(float));
    for (int64_t i = 0; i < sets_of(r, set_bytes); i++) pixels_.push_back(take_dense(arena_, stream, 3 * r.image_size, r.image_size, 2, seed_of(r.seed, 4, i)));
  }
  int64_t sets() const override { return static_cast<int64_t>(pixels_.size()); }
  void run(Backend& backend, int64_t set) override {
    const Weight weight{reinterpret_cast<const std::byte*>(weight_.data), DType::F32, weight_.rows, weight_.cols};
    backend.ops().patch_embed(backend.stream(), {.pixel_values = pixels_[static_cast<size_t>(set)].data, .image_size = request_.image_size, .patch_size = request_.patch_size,
                                                 .weight = weight, .class_embedding = class_embedding_.data, .position_embedding = positions_.data, .y = y_});
  }
  std::vector<float> output(Backend& backend) override {
    forget(y_);
    run(backend, 0);
    return values_of(y_);
  }
  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    for (const int64_t n : sampled(request_.columns, kSampledColumns, random)) {
      out.index.push_back(n);
      out.truth.push_back(class_embedding_.data[n] + positions_.data[n]);
      out.reference.push_back(out.truth.back());
      for (const int64_t p : sampled(grid_ * grid_, kSampledPatches, random)) {
        out.index.push_back((1 + p) * request_.columns + n);
        out.truth.push_back(patch<double>(p, n));
        out.reference.push_back(patch<float>(p, n));
      }
    }
    return out;
  }

 private:
  template <class Acc>
  float patch(int64_t p, int64_t n) const {
    const int64_t size = request_.image_size, edge = request_.patch_size;
    const float *w = weight_.row(n), *corner = pixels_[0].data + p / grid_ * edge * size + p % grid_ * edge;
    Acc sum = 0;
    for (int64_t k = 0; k < depth_; k++) {
      const int64_t channel = k / (edge * edge), line = k / edge % edge, column = k % edge;
      sum += Acc(w[k]) * Acc(corner[(channel * size + line) * size + column]);
    }
    return static_cast<float>(sum + Acc(positions_.row(1 + p)[n]));
  }

  OpRequest request_;
  int64_t grid_, depth_;
  Arena arena_;
  Activations weight_;           // [Dv, 3 patch^2]
  Activations class_embedding_;  // [1, Dv]
  Activations positions_;        // [1 + P, Dv]
  Activations y_;                // [1 + P, Dv]
  std::vector<Activations> pixels_;
};

}  // namespace

std::unique_ptr<MeasuredOp> make_patch_embed_op(Backend& backend, const OpRequest& r) {
  expect(r.columns >= 1 && r.patch_size >= 1 && r.image_size >= r.patch_size, "patch_embed: columns, and an image of at least one patch");
  return std::make_unique<PatchEmbedOp>(cpu::cpu_stream(backend.stream()), r);
}

}  // namespace llava::bench
