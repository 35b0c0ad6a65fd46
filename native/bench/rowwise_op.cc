// Ops that make each row of y from the same row of their inputs, or one row from all; the reference of a row is
// reference.h's loop.
#include <cmath>
#include <numeric>

#include "bench/measured_ops.h"
#include "bench/operand_sets.h"
#include "cpu/expand.h"
#include "cpu/kernels/reference.h"

namespace llava::bench {

namespace {

constexpr int64_t kSampledRows = 8;
constexpr float kEps = 1e-5f;

// What all sets share.
struct Shared {
  RandomRows weights;               // [2, D]: weight and bias of a norm
  RandomRows angles[2];             // [T, Dh / 2]: what cos and sin are to rope, any values
  Device<const int32_t> positions;  // [T]
  Activations sin;                  // [T, D]: the second output of rope_angles
  int64_t head_dim = 0;
  RandomWeight table;  // [V, D]
};

struct Set {
  RandomRows input[2];  // [T, D]
  std::vector<int32_t> ids;
  Device<const int32_t> ids_at;
  Activations y;  // [T, D]
};

// An op's inputs in a set, its call, and one row of it by the plainest loops.
struct RmsNorm {
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared& shared, const Set& s) {
    b.ops().rms_norm(b.stream(), {.x = s.input[0].at, .weight = shared.weights.vector(0), .eps = kEps, .y = s.y});
  }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    reference::rms_norm<Acc>(s.input[0].row(t).data(), shared.weights.row(0).data(), kEps, y, s.y.cols);
  }
};

struct LayerNorm {
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared& shared, const Set& s) {
    b.ops().layer_norm(b.stream(), {.x = s.input[0].at,
                                    .weight = shared.weights.vector(0),
                                    .bias = shared.weights.vector(1),
                                    .eps = kEps,
                                    .y = s.y});
  }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    reference::layer_norm<Acc>(s.input[0].row(t).data(), shared.weights.row(0).data(), shared.weights.row(1).data(),
                               kEps, y, s.y.cols);
  }
};

struct Activate {  // CLIP's
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared&, const Set& s) {
    b.ops().activate(b.stream(), {.x = s.input[0].at, .activation = Activation::kQuickGelu, .y = s.y});
  }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t t, float* y) {
    reference::quick_gelu<Acc>(s.input[0].row(t).data(), y, s.y.cols);
  }
};

struct SiluMul {
  static constexpr int kInputs = 2;
  static void call(Backend& b, const Shared&, const Set& s) {
    b.ops().silu_mul(b.stream(), {.gate = s.input[0].at, .up = s.input[1].at, .y = s.y});
  }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t t, float* y) {
    reference::silu_mul<Acc>(s.input[0].row(t).data(), s.input[1].row(t).data(), y, s.y.cols);
  }
};

struct AddRows {
  static constexpr int kInputs = 2;
  static void call(Backend& b, const Shared&, const Set& s) {
    b.ops().add_rows(b.stream(), {.a = s.input[0].at, .b = s.input[1].at, .y = s.y});
  }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t t, float* y) {
    reference::add<Acc>(s.input[0].row(t).data(), s.input[1].row(t).data(), y, s.y.cols);
  }
};

struct CopyRows {
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared&, const Set& s) {
    b.ops().copy_rows(b.stream(), {.x = s.input[0].at, .y = s.y});
  }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t t, float* y) {
    const std::vector<float> x = s.input[0].row(t);
    std::copy(x.begin(), x.end(), y);
  }
};

struct MeanRows {  // of all rows, to one: the others of y stay as they were
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared&, const Set& s) {
    b.ops().mean_rows(b.stream(), {.x = s.input[0].at, .rows = s.y.rows, .y = s.y.slice(0, 1)});
  }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t, float* y) {
    std::vector<double> sums(static_cast<size_t>(s.y.cols));
    for (int64_t t = 0; t < s.y.rows; t++) {
      const std::vector<float> x = s.input[0].row(t);
      for (size_t i = 0; i < sums.size(); i++) sums[i] += static_cast<double>(x[i]);
    }
    for (size_t i = 0; i < sums.size(); i++) y[i] = static_cast<float>(sums[i] / static_cast<double>(s.y.rows));
  }
};

struct RopeAngles {  // y is cos
  static constexpr int kInputs = 0;
  static void call(Backend& b, const Shared& shared, const Set& s) {
    b.ops().rope_angles(
        b.stream(),
        {.positions = shared.positions, .inv_freq = shared.weights.vector(0), .cos = s.y, .sin = shared.sin});
  }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    const std::vector<float> inv_freq = shared.weights.row(0);
    for (int64_t j = 0; j < s.y.cols; j++)
      y[j] =
          static_cast<float>(std::cos(static_cast<double>(static_cast<float>(t) * inv_freq[static_cast<size_t>(j)])));
  }
};

struct Rope {  // in place: the input is what y starts from
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared& shared, const Set& s) {
    b.ops().rope(b.stream(), {.x = s.y,
                              .cos = shared.angles[0].at,
                              .sin = shared.angles[1].at,
                              .head_dim = shared.head_dim,
                              .layout = RopeLayout::kHalf});
  }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    const std::vector<float> x = s.input[0].row(t), cos = shared.angles[0].row(t), sin = shared.angles[1].row(t);
    std::copy(x.begin(), x.end(), y);
    for (int64_t at = 0; at < s.y.cols; at += shared.head_dim)
      reference::rope_half<Acc>(y + at, cos.data(), sin.data(), shared.head_dim / 2);
  }
};

struct EmbedRows {
  static constexpr int kInputs = 0;
  static void call(Backend& b, const Shared& shared, const Set& s) {
    b.ops().embed_rows(b.stream(), {.ids = s.ids_at, .table = shared.table.at, .y = s.y});
  }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    const std::vector<std::byte> row = shared.table.row(s.ids[static_cast<size_t>(t)]);
    cpu::expand_kernel(select_kernels("scalar"), shared.table.at.dtype)(row.data(), y, s.y.cols);
  }
};

// Ops whose output is one row, however many there are of the input.
template <class Op>
constexpr bool kOneRow = std::is_same_v<Op, MeanRows>;

template <class Op>
class RowwiseOp : public MeasuredOp {
 public:
  RowwiseOp(Backend& backend, const OpRequest& r) : request_(r), operands_(backend) {
    share();
    const int64_t set_bytes = (Op::kInputs + 1) * r.rows * r.columns * static_cast<int64_t>(sizeof(float));
    for (int64_t i = 0; i < sets_of(r, set_bytes); i++) sets_.push_back(make_set(i));
  }
  int64_t sets() const override { return static_cast<int64_t>(sets_.size()); }
  void run(int64_t set) override { Op::call(operands_.backend(), shared_, sets_[static_cast<size_t>(set)]); }

  std::vector<float> output() override {
    start(sets_[0]);
    run(0);
    return operands_.values_of(kOneRow<Op> ? sets_[0].y.slice(0, 1) : sets_[0].y);
  }

  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    const int64_t D = request_.columns;
    std::vector<float> row(static_cast<size_t>(D));
    for (const int64_t t : kOneRow<Op> ? std::vector<int64_t>{0} : sampled(request_.rows, kSampledRows, random)) {
      for (int64_t i = 0; i < D; i++) out.index.push_back(t * D + i);
      Op::template row<float>(shared_, sets_[0], t, row.data());
      out.reference.insert(out.reference.end(), row.begin(), row.end());
      Op::template row<double>(shared_, sets_[0], t, row.data());
      out.truth.insert(out.truth.end(), row.begin(), row.end());
    }
    return out;
  }

 private:
  void share() {
    const OpRequest& r = request_;
    shared_.weights = operands_.values(2, r.columns, 1, seed_of(r.seed, 1, 0));
    shared_.head_dim = r.head_dim;
    if (std::is_same_v<Op, Rope>) {
      for (int i = 0; i < 2; i++)
        shared_.angles[i] = operands_.values(r.rows, r.head_dim / 2, 1, seed_of(r.seed, 6 + i, 0));
    }
    if (std::is_same_v<Op, RopeAngles>) {
      std::vector<int32_t> positions(static_cast<size_t>(r.rows));
      std::iota(positions.begin(), positions.end(), 0);
      shared_.positions = operands_.taken(positions);
      shared_.sin = operands_.unwritten(r.rows, r.columns);
    }
    if (std::is_same_v<Op, EmbedRows>)
      shared_.table = operands_.weight(r.dtype, r.depth, r.columns, 0.02f, seed_of(r.seed, 2, 0));
  }

  Set make_set(int64_t index) {
    const OpRequest& r = request_;
    Set set;
    for (int i = 0; i < Op::kInputs; i++)
      set.input[i] = operands_.values(r.rows, r.columns, 1.7f, seed_of(r.seed, 3 + i, index));
    if (std::is_same_v<Op, EmbedRows>) {
      Random random(seed_of(r.seed, 5, index));
      for (int64_t t = 0; t < r.rows; t++) set.ids.push_back(static_cast<int32_t>(random.below(r.depth)));
      set.ids_at = operands_.taken(set.ids);
    }
    set.y = operands_.unwritten(r.rows, r.columns);
    start(set);
    return set;
  }

  void start(const Set& set) {
    if (std::is_same_v<Op, Rope>)
      operands_.copy(set.input[0].at, set.y);
    else
      operands_.forget(set.y);
  }

  OpRequest request_;
  Operands operands_;
  Shared shared_;
  std::vector<Set> sets_;
};

template <class Op>
std::unique_ptr<MeasuredOp> make(Backend& backend, const OpRequest& r) {
  expect(r.rows >= 1 && r.columns >= 1, "rows and columns of at least 1");
  return std::make_unique<RowwiseOp<Op>>(backend, r);
}

}  // namespace

std::unique_ptr<MeasuredOp> make_rms_norm_op(Backend& backend, const OpRequest& r) { return make<RmsNorm>(backend, r); }
std::unique_ptr<MeasuredOp> make_layer_norm_op(Backend& backend, const OpRequest& r) {
  return make<LayerNorm>(backend, r);
}
std::unique_ptr<MeasuredOp> make_activate_op(Backend& backend, const OpRequest& r) {
  return make<Activate>(backend, r);
}
std::unique_ptr<MeasuredOp> make_silu_mul_op(Backend& backend, const OpRequest& r) { return make<SiluMul>(backend, r); }
std::unique_ptr<MeasuredOp> make_add_rows_op(Backend& backend, const OpRequest& r) { return make<AddRows>(backend, r); }
std::unique_ptr<MeasuredOp> make_mean_rows_op(Backend& backend, const OpRequest& r) {
  return make<MeanRows>(backend, r);
}
std::unique_ptr<MeasuredOp> make_rope_angles_op(Backend& backend, const OpRequest& r) {
  return make<RopeAngles>(backend, r);
}
std::unique_ptr<MeasuredOp> make_copy_rows_op(Backend& backend, const OpRequest& r) {
  return make<CopyRows>(backend, r);
}

std::unique_ptr<MeasuredOp> make_rope_op(Backend& backend, const OpRequest& r) {
  expect(r.head_dim >= 2 && r.head_dim % 2 == 0 && r.columns % r.head_dim == 0, "rope: whole heads of an even size");
  return make<Rope>(backend, r);
}

std::unique_ptr<MeasuredOp> make_embed_rows_op(Backend& backend, const OpRequest& r) {
  expect(r.depth >= 1 && r.columns % traits(r.dtype).elements == 0,
         "embed_rows: a vocabulary as `depth`, and whole blocks along columns");
  return make<EmbedRows>(backend, r);
}

}  // namespace llava::bench
