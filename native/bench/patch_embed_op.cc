// y[1 + P, Dv]: the class row, and the patch convolution as a product, with positions added.
#include <cstring>

#include "bench/measured_ops.h"
#include "bench/operand_sets.h"
#include "cpu/factors.h"

namespace llava::bench {

namespace {

constexpr int64_t kSampledPatches = 8, kSampledColumns = 64;

class PatchEmbedOp : public MeasuredOp {
 public:
  PatchEmbedOp(Backend& backend, const OpRequest& r)
      : request_(r),
        grid_(r.image_size / r.patch_size),
        depth_(3 * r.patch_size * r.patch_size),
        factors_(cpu::factors_of(select_kernels(backend.info().isa), {nullptr, DType::F32, r.columns, depth_},
                                 Arithmetic::kFast, grid_ * grid_)),
        operands_(backend) {
    weight_ = operands_.weight(DType::F32, r.columns, depth_, 0.07f, seed_of(r.seed, 1, 0));
    class_embedding_ = operands_.values(1, r.columns, 1, seed_of(r.seed, 2, 0));
    positions_ = operands_.values(1 + grid_ * grid_, r.columns, 1, seed_of(r.seed, 3, 0));
    y_ = operands_.unwritten(1 + grid_ * grid_, r.columns);
    const int64_t pixels = 3 * r.image_size * r.image_size;
    for (int64_t i = 0; i < sets_of(r, pixels * static_cast<int64_t>(sizeof(float))); i++)
      pixels_.push_back(operands_.values(1, pixels, 2, seed_of(r.seed, 4, i)));
  }
  int64_t sets() const override { return static_cast<int64_t>(pixels_.size()); }
  void run(int64_t set) override {
    operands_.backend().ops().patch_embed(operands_.backend().stream(),
                                          {.pixel_values = pixels_[static_cast<size_t>(set)].at.data,
                                           .pictures = 1,
                                           .image_size = request_.image_size,
                                           .patch_size = request_.patch_size,
                                           .weight = weight_.at,
                                           .class_embedding = class_embedding_.vector(0),
                                           .position_embedding = positions_.at,
                                           .y = y_});
  }
  std::vector<float> output() override {
    operands_.forget(y_);
    run(0);
    return operands_.values_of(y_);
  }
  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    const std::vector<float> pixels = pixels_[0].row(0), classes = class_embedding_.row(0), first = positions_.row(0);
    const std::vector<int64_t> columns = sampled(request_.columns, kSampledColumns, random);
    for (const int64_t n : columns) {
      out.index.push_back(n);
      out.truth.push_back(classes[static_cast<size_t>(n)] + first[static_cast<size_t>(n)]);
      out.reference.push_back(out.truth.back());
    }
    for (const int64_t p : sampled(grid_ * grid_, kSampledPatches, random)) {
      const std::vector<float> position = positions_.row(1 + p);
      for (const int64_t n : columns) {
        out.index.push_back((1 + p) * request_.columns + n);
        out.truth.push_back(
            static_cast<float>(patch<double>(pixels, p, n) + static_cast<double>(position[static_cast<size_t>(n)])));
        out.reference.push_back(patch<float>(pixels, p, n) + position[static_cast<size_t>(n)]);
      }
    }
    return out;
  }

 private:
  // weight[n, :] · patch p
  template <class Acc>
  Acc patch(const std::vector<float>& pixels, int64_t p, int64_t n) const {
    const int64_t size = request_.image_size, edge = request_.patch_size,
                  corner = p / grid_ * edge * size + p % grid_ * edge;
    const std::vector<std::byte> row = weight_.row(n);
    Acc sum = 0;
    for (int64_t k = 0; k < depth_; k++) {
      const int64_t channel = k / (edge * edge), line = k / edge % edge, column = k % edge;
      float w;
      std::memcpy(&w, row.data() + k * static_cast<int64_t>(sizeof w), sizeof w);
      const float x = pixels[static_cast<size_t>(corner + (channel * size + line) * size + column)];
      sum += static_cast<Acc>(cpu::product_of(x, w, factors_));
    }
    return sum;
  }

  OpRequest request_;
  int64_t grid_, depth_;
  cpu::Factors factors_;
  Operands operands_;
  RandomWeight weight_;             // [Dv, 3 patch^2]
  RandomRows class_embedding_;      // [1, Dv]
  RandomRows positions_;            // [1 + P, Dv]
  Activations y_;                   // [1 + P, Dv]
  std::vector<RandomRows> pixels_;  // each [1, 3 S S]
};

}  // namespace

std::unique_ptr<MeasuredOp> make_patch_embed_op(Backend& backend, const OpRequest& r) {
  expect(r.columns >= 1 && r.patch_size >= 1 && r.image_size >= r.patch_size,
         "patch_embed: columns, and an image of at least one patch");
  return std::make_unique<PatchEmbedOp>(backend, r);
}

}  // namespace llava::bench
