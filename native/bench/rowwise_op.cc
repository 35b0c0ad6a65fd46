// Ops that make each row of y from the same row of their inputs; the reference of a row is reference.h's loop.
#include <cmath>

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
  Activations weights;  // [2, D]: weight and bias of a norm
  Activations cos, sin; // [T, Dh / 2]
  int64_t head_dim = 0;
  Weight table;         // [V, D]
};

struct Set {
  Activations input[2];  // [T, D]
  const int32_t* ids = nullptr;
  Activations y;         // [T, D]
};

struct RmsNorm {
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared& shared, const Set& s) { b.ops().rms_norm(b.stream(), {.x = s.input[0], .weight = shared.weights.row(0), .eps = kEps, .y = s.y}); }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    reference::rms_norm<Acc>(s.input[0].row(t), shared.weights.row(0), kEps, y, s.y.cols);
  }
};

struct LayerNorm {
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared& shared, const Set& s) {
    b.ops().layer_norm(b.stream(), {.x = s.input[0], .weight = shared.weights.row(0), .bias = shared.weights.row(1), .eps = kEps, .y = s.y});
  }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    reference::layer_norm<Acc>(s.input[0].row(t), shared.weights.row(0), shared.weights.row(1), kEps, y, s.y.cols);
  }
};

struct Activate {  // CLIP's
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared&, const Set& s) { b.ops().activate(b.stream(), {.x = s.input[0], .activation = Activation::kQuickGelu, .y = s.y}); }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t t, float* y) {
    reference::quick_gelu<Acc>(s.input[0].row(t), y, s.y.cols);
  }
};

struct SiluMul {
  static constexpr int kInputs = 2;
  static void call(Backend& b, const Shared&, const Set& s) { b.ops().silu_mul(b.stream(), {.gate = s.input[0], .up = s.input[1], .y = s.y}); }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t t, float* y) {
    reference::silu_mul<Acc>(s.input[0].row(t), s.input[1].row(t), y, s.y.cols);
  }
};

struct AddRows {
  static constexpr int kInputs = 2;
  static void call(Backend& b, const Shared&, const Set& s) { b.ops().add_rows(b.stream(), {.a = s.input[0], .b = s.input[1], .y = s.y}); }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t t, float* y) {
    reference::add<Acc>(s.input[0].row(t), s.input[1].row(t), y, s.y.cols);
  }
};

struct CopyRows {
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared&, const Set& s) { b.ops().copy_rows(b.stream(), {.x = s.input[0], .y = s.y}); }
  template <class Acc>
  static void row(const Shared&, const Set& s, int64_t t, float* y) {
    std::copy_n(s.input[0].row(t), s.y.cols, y);
  }
};

struct Rope {  // in place: the input is what y starts from
  static constexpr int kInputs = 1;
  static void call(Backend& b, const Shared& shared, const Set& s) {
    b.ops().rope(b.stream(), {.x = s.y, .cos = shared.cos, .sin = shared.sin, .head_dim = shared.head_dim, .layout = RopeLayout::kHalf});
  }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    std::copy_n(s.input[0].row(t), s.y.cols, y);
    for (int64_t at = 0; at < s.y.cols; at += shared.head_dim) reference::rope_half<Acc>(y + at, shared.cos.row(t), shared.sin.row(t), shared.head_dim / 2);
  }
};

struct EmbedRows {
  static constexpr int kInputs = 0;
  static void call(Backend& b, const Shared& shared, const Set& s) { b.ops().embed_rows(b.stream(), {.ids = s.ids, .table = shared.table, .y = s.y}); }
  template <class Acc>
  static void row(const Shared& shared, const Set& s, int64_t t, float* y) {
    cpu::expand_kernel(select_kernels("scalar"), shared.table.dtype)(shared.table.row(s.ids[t]), y, s.y.cols);
  }
};

template <class Op>
class RowwiseOp : public MeasuredOp {
 public:
  RowwiseOp(cpu::CpuStream& stream, const OpRequest& r) : request_(r) {
    share(stream);
    const int64_t set_bytes = (Op::kInputs + 1) * r.rows * r.columns * static_cast<int64_t>(sizeof(float));
    for (int64_t i = 0; i < sets_of(r, set_bytes); i++) sets_.push_back(make_set(stream, i));
  }
  int64_t sets() const override { return static_cast<int64_t>(sets_.size()); }
  void run(Backend& backend, int64_t set) override { Op::call(backend, shared_, sets_[static_cast<size_t>(set)]); }

  std::vector<float> output(Backend& backend) override {
    start(sets_[0]);
    run(backend, 0);
    return values_of(sets_[0].y);
  }

  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    const int64_t D = request_.columns;
    std::vector<float> row(static_cast<size_t>(D));
    for (const int64_t t : sampled(request_.rows, kSampledRows, random)) {
      for (int64_t i = 0; i < D; i++) out.index.push_back(t * D + i);
      Op::template row<float>(shared_, sets_[0], t, row.data());
      out.reference.insert(out.reference.end(), row.begin(), row.end());
      Op::template row<double>(shared_, sets_[0], t, row.data());
      out.truth.insert(out.truth.end(), row.begin(), row.end());
    }
    return out;
  }

 private:
  void share(cpu::CpuStream& stream) {
    const OpRequest& r = request_;
    shared_.weights = take_values(arena_, stream, 2, r.columns, 1, seed_of(r.seed, 1, 0));
    shared_.head_dim = r.head_dim;
    if (std::is_same_v<Op, Rope>) take_angles();
    if (std::is_same_v<Op, EmbedRows>) shared_.table = take_weight(arena_, stream, r.dtype, r.depth, r.columns, 0.02f, seed_of(r.seed, 2, 0));
  }

  void take_angles() {
    const int64_t half = request_.head_dim / 2;
    shared_.cos = arena_.rows(request_.rows, half);
    shared_.sin = arena_.rows(request_.rows, half);
    for (int64_t t = 0; t < request_.rows; t++) {
      for (int64_t j = 0; j < half; j++) {
        const double angle = static_cast<double>(t) * std::pow(10000.0, -static_cast<double>(j) / static_cast<double>(half));
        shared_.cos.row(t)[j] = static_cast<float>(std::cos(angle));
        shared_.sin.row(t)[j] = static_cast<float>(std::sin(angle));
      }
    }
  }

  Set make_set(cpu::CpuStream& stream, int64_t index) {
    const OpRequest& r = request_;
    Set set;
    for (int i = 0; i < Op::kInputs; i++) set.input[i] = take_values(arena_, stream, r.rows, r.columns, 1.7f, seed_of(r.seed, 3 + i, index));
    if (std::is_same_v<Op, EmbedRows>) set.ids = take_ids(index);
    set.y = arena_.rows(r.rows, r.columns);
    start(set);
    return set;
  }

  const int32_t* take_ids(int64_t index) {
    auto* ids = arena_.take<int32_t>(request_.rows);
    Random random(seed_of(request_.seed, 5, index));
    for (int64_t t = 0; t < request_.rows; t++) ids[t] = static_cast<int32_t>(random.below(request_.depth));
    return ids;
  }

  void start(const Set& set) {
    if (std::is_same_v<Op, Rope>) copy(set.input[0], set.y);
    else forget(set.y);
  }

  OpRequest request_;
  Arena arena_;
  Shared shared_;
  std::vector<Set> sets_;
};

template <class Op>
std::unique_ptr<MeasuredOp> make(Backend& backend, const OpRequest& r) {
  expect(r.rows >= 1 && r.columns >= 1, "rows and columns of at least 1");
  return std::make_unique<RowwiseOp<Op>>(cpu::cpu_stream(backend.stream()), r);
}

}  // namespace

std::unique_ptr<MeasuredOp> make_rms_norm_op(Backend& backend, const OpRequest& r) { return make<RmsNorm>(backend, r); }
std::unique_ptr<MeasuredOp> make_layer_norm_op(Backend& backend, const OpRequest& r) { return make<LayerNorm>(backend, r); }
std::unique_ptr<MeasuredOp> make_activate_op(Backend& backend, const OpRequest& r) { return make<Activate>(backend, r); }
std::unique_ptr<MeasuredOp> make_silu_mul_op(Backend& backend, const OpRequest& r) { return make<SiluMul>(backend, r); }
std::unique_ptr<MeasuredOp> make_add_rows_op(Backend& backend, const OpRequest& r) { return make<AddRows>(backend, r); }
std::unique_ptr<MeasuredOp> make_copy_rows_op(Backend& backend, const OpRequest& r) { return make<CopyRows>(backend, r); }

std::unique_ptr<MeasuredOp> make_rope_op(Backend& backend, const OpRequest& r) {
  expect(r.head_dim >= 2 && r.head_dim % 2 == 0 && r.columns % r.head_dim == 0, "rope: whole heads of an even size");
  return make<Rope>(backend, r);
}

std::unique_ptr<MeasuredOp> make_embed_rows_op(Backend& backend, const OpRequest& r) {
  expect(r.depth >= 1 && r.columns % traits(r.dtype).elements == 0, "embed_rows: a vocabulary as `depth`, and whole blocks along columns");
  return make<EmbedRows>(backend, r);
}

}  // namespace llava::bench
