// What the CUDA back end's kernels ask of a card, counted by the emulator: no times. First single ops, at
// LLaVA-1.5-7B's shapes with fewer rows or outputs, of which all do the same; then the ops of one layer of whole
// passes, at full size, of whose blocks some run and count for all. A line of JSON each:
//   {"op", "shape", "launches", "submissions", "blocks", "bytes", "touched", "moved", "least", "shared", "conflicts",
//    "mma", "scale"}
//   Of an op of a pass "pass" names the pass, "layers" says how many layers there are, and the lines of one name add
//   up. bytes asked of global memory by ld, st and cp.async; touched, the bytes of the sectors of each warp's accesses;
//   moved, of those that a block touches, each once; least, of operands and results, each once; shared, wavefronts of
//   ldmatrix, and conflicts, those beyond one each; scale, by which the real shape is larger.
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/backend.h"
#include "testing/cuda_emu/emulated_device.h"
#include "testing/cuda_layers.h"

namespace {

using namespace llava;
using namespace llava::testing;

constexpr uint64_t kBlocksOfPass = 5;  // that run of each launch

class Counted {
 public:
  Counted() : backend_(make_cuda_backend(1)), ops(backend_->ops()), stream(backend_->stream()) {
    cuda_emu::count_accesses(true);
  }
  Activations rows(int64_t count, int64_t columns) {
    return {room(count * columns * 4).template as<float>(), count, columns};
  }
  Vector vector(int64_t length) { return {rows(1, length).data, length}; }
  Weight weight(DType dtype, int64_t count, int64_t columns) {
    return {room(count * row_bytes(dtype, columns)).template as<const std::byte>(), dtype, count, columns};
  }
  DeviceBytes room(int64_t nbytes) {
    memory_.push_back(backend_->allocate(static_cast<uint64_t>(nbytes)));
    if (!fills) return memory_.back().data();  // zeros that take no memory while they are only read
    const std::vector<std::byte> ones(static_cast<size_t>(nbytes), std::byte{0x11});
    copy_in<std::byte>(*backend_, memory_.back().data(), ones);
    return memory_.back().data();
  }
  int64_t page_bytes(const KvLayout& layout) const { return static_cast<int64_t>(backend_->kv_layer_bytes(layout)); }

  // `more`: members of the line that come first.
  template <class Work>
  void count(const std::string& more, const std::string& op, const std::string& shape, int64_t least, double scale,
             const Work& work) {
    cuda_emu::counters() = {};
    work();
    backend_->synchronize(stream);
    const cuda_emu::Counters& c = cuda_emu::counters();
    const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf(
        "{%s\"op\": \"%s\", \"shape\": \"%s\", \"launches\": %llu, \"submissions\": %llu, \"blocks\": %llu, \"bytes\": "
        "%llu, \"touched\": %llu, \"moved\": %llu, \"least\": %lld, \"shared\": %llu, \"conflicts\": %llu, \"mma\": "
        "%llu, "
        "\"scale\": %g}\n",
        more.c_str(), op.c_str(), shape.c_str(), number(c.launches), number(c.submissions), number(c.blocks),
        number(c.bytes), number(32 * c.sectors), number(32 * c.moved), static_cast<long long>(least), number(c.shared),
        number(c.conflicts), number(c.mma), scale);
    std::fflush(stdout);
  }
  template <class Work>
  void count(const std::string& op, const std::string& shape, int64_t least, double scale, const Work& work) {
    count("", op, shape, least, scale, work);
    memory_.clear();
  }

  // One layer of a pass, op by op; of a decoded token also what the host submits once such a pass has been seen.
  void pass(const std::string& name, const Shape& shape, DType dtype, const Batch& batch) {
    cuda_emu::sample_blocks(kBlocksOfPass);
    fills = false;
    {
      Layer<Counted> layer(*this, shape, dtype, KvType::kF16, batch);
      const auto put = [&](const auto& around) {
        shape.vocabulary > 0 ? layer.decoder(ops, stream, around) : layer.tower(ops, stream, around);
      };
      const auto plain = [](const char*, const auto& work) { work(); };
      const std::string more = "\"pass\": \"" + name + "\", \"layers\": " + std::to_string(shape.layers) + ", ";
      put(plain);  // so that what an op does for the next one is seen
      backend_->synchronize(stream);
      put([&](const char* op, const auto& work) {
        count(more, op, "", layer.least_bytes(op), static_cast<double>(shape.layers), work);
      });
      if (batch.rows > 1) return forget_pass();
      cuda_emu::sample_blocks(1);
      cuda_emu::count_accesses(false);
      for (int i = 0; i < 2; i++) {
        cuda_emu::counters() = {};
        for (int64_t l = 0; l < shape.layers; l++) put(plain);
        backend_->synchronize(stream);
      }
      std::printf("{\"pass\": \"%s\", \"layers\": %lld, \"launches\": %llu, \"submissions\": %llu}\n", name.c_str(),
                  static_cast<long long>(shape.layers), static_cast<unsigned long long>(cuda_emu::counters().launches),
                  static_cast<unsigned long long>(cuda_emu::counters().submissions));
    }
    forget_pass();
  }
  void forget_pass() {
    memory_.clear();
    fills = true;
    cuda_emu::sample_blocks(0);
    cuda_emu::count_accesses(true);
  }

  void linear(DType dtype, int64_t M, int64_t N, int64_t K, double scale) {
    const Activations x = rows(M, K), y = rows(M, N);
    const Weight w = weight(dtype, N, K);
    count("linear " + std::string(traits(dtype).name),
          std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K),
          N * row_bytes(dtype, K) + 4 * M * (K + N), scale,
          [&] { ops.linear(stream, {.x = x, .output = {{.weight = w, .y = y}}}); });
  }

  void attention(const std::string& name, KvType type, int64_t rows_of, int64_t keys, int64_t dim, bool causal,
                 double scale) {
    const KvLayout layout{1, dim, type};
    std::vector<DeviceBytes> pages;
    for (int64_t at = 0; at < keys; at += kPageTokens) pages.push_back(room(page_bytes(layout)));
    const KvSequence sequence{pages, rows_of, keys};
    const Activations q = rows(rows_of, dim), y = rows(rows_of, dim);
    count(name, std::to_string(rows_of) + " rows, " + std::to_string(keys) + " keys, a head of " + std::to_string(dim),
          static_cast<int64_t>(pages.size()) * page_bytes(layout) + 8 * rows_of * dim, scale, [&] {
            ops.attention(stream, {.q = q, .cache = {layout, 0, {&sequence, 1}}, .heads = 1, .causal = causal, .y = y});
          });
  }

 private:
  std::shared_ptr<Backend> backend_;
  std::vector<DeviceMemory> memory_;

 public:
  const OpTable& ops;
  Stream& stream;
  bool fills = true;
};

}  // namespace

int main() {
  Counted c;
  {
    const Activations x = c.rows(8, 4096), y = c.rows(8, 4096);
    const Vector w = c.vector(4096);
    c.count("rms_norm", "8 x 4096", 8 * 4096 * 8 + 4096 * 4, 312,
            [&] { c.ops.rms_norm(c.stream, {.x = x, .weight = w, .eps = 1e-5f, .y = y}); });
  }
  {
    const Activations x = c.rows(8, 1024), y = c.rows(8, 1024);
    const Vector w = c.vector(1024);
    c.count("layer_norm", "8 x 1024", 8 * 1024 * 8 + 1024 * 8, 72 * 64,
            [&] { c.ops.layer_norm(c.stream, {.x = x, .weight = w, .bias = w, .eps = 1e-5f, .y = y}); });
  }
  {
    const Activations gate = c.rows(2, 11008), up = c.rows(2, 11008);
    c.count("silu_mul", "2 x 11008", 2 * 11008 * 12, 1248,
            [&] { c.ops.silu_mul(c.stream, {.gate = gate, .up = up, .y = gate}); });
  }
  {
    const Activations x = c.rows(2, 4096), cosines = c.rows(2, 64), sines = c.rows(2, 64);
    c.count("rope", "2 x 4096", 2 * 4096 * 8 + 2 * 128 * 4, 1248, [&] {
      c.ops.rope(c.stream, {.x = x, .cos = cosines, .sin = sines, .head_dim = 128, .layout = RopeLayout::kHalf});
    });
  }
  for (const DType dtype : {DType::Q4_0, DType::Q8_0, DType::Q4_K, DType::Q6_K, DType::F16, DType::BF16}) {
    for (const int64_t M : {1, 16}) c.linear(dtype, M, 32, 4096, 128);
  }
  for (const DType dtype : {DType::BF16, DType::Q4_0, DType::F16}) c.linear(dtype, 128, 128, 1024, 20 * 32 * 4);
  c.attention("attention of a token", KvType::kF16, 1, 2048, 128, true, 32);
  c.attention("attention of a token, q8_0", KvType::kQ8_0, 1, 2048, 128, true, 32);
  c.attention("attention of a prompt", KvType::kF16, 64, 512, 128, true, 32 * 9.75);
  c.attention("attention of pictures", KvType::kF16, 64, 577, 64, false, 64 * 16 * 9.02);
  for (const Shape& shape : {k7B, k13B}) {
    const std::string name = shape.name;
    c.pass(name + " Q4_0, a token at 1,024", shape, DType::Q4_0, {1, 1, 1024});
    c.pass(name + " Q4_0, 16 tokens at 1,024", shape, DType::Q4_0, {16, 1, 1024});
    c.pass(name + " BF16, a prompt of 624", shape, DType::BF16, {1, 624, 624});
  }
  c.pass("7B Q4_0, four prompts of 624", k7B, DType::Q4_0, {4, 624, 624});
  c.pass("tower BF16, 16 pictures", kTower, DType::BF16, {16, kPictureRows, kPictureRows});
  return 0;
}
