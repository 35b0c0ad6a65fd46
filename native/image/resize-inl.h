// The loops over pixels of resize.h, included once per instruction set in a namespace of its own (resize.cc). Plain C++
// that a compiler turns into vectors: integers, so every build gives the same bytes. Pixels are widened to 32 bits
// where they are brought side by side, once for the four columns that each meets.

using Bytes = uint8_t __attribute__((vector_size(16)));
using Quad = int32_t __attribute__((vector_size(16)));
using Sums = int32_t __attribute__((vector_size(32)));

constexpr int kRows = 8;   // source rows side by side: lanes of Sums
constexpr int kStep = 16;  // lanes of Bytes

template <class Vector>
[[gnu::always_inline]] inline Vector load(const void* from) {
  Vector v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
template <class Vector>
[[gnu::always_inline]] inline void store(void* to, const Vector& v) {
  __builtin_memcpy(to, &v, sizeof v);
}
[[gnu::always_inline]] inline Sums splat(int32_t x) { return Sums{x, x, x, x, x, x, x, x}; }

// Lanes of a and b, in which b's are counted on from a's.
template <int... lanes, class Vector>
[[gnu::always_inline]] inline Vector lanes_of(const Vector& a, const Vector& b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, lanes...);
#else
  return __builtin_shuffle(a, b, Vector{lanes...});
#endif
}
[[gnu::always_inline]] inline Bytes low_halves(const Bytes& a, const Bytes& b) {
  return lanes_of<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(a, b);
}
[[gnu::always_inline]] inline Bytes high_halves(const Bytes& a, const Bytes& b) {
  return lanes_of<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(a, b);
}
[[gnu::always_inline]] inline Quad low_halves(const Quad& a, const Quad& b) { return lanes_of<0, 4, 1, 5>(a, b); }
[[gnu::always_inline]] inline Quad high_halves(const Quad& a, const Quad& b) { return lanes_of<2, 6, 3, 7>(a, b); }

// A perfect shuffle: the values of the second half go between those of the first. It turns the bits of a value's place
// to the left by one, so that as many shuffles as the bits of the row's number bring place (row, column) to (column,
// row).
template <class Vector, int count>
[[gnu::always_inline]] inline void shuffle(Vector (&v)[count]) {
  Vector shuffled[count];
  for (int i = 0; i < count / 2; i++) {
    shuffled[2 * i] = low_halves(v[i], v[i + count / 2]);
    shuffled[2 * i + 1] = high_halves(v[i], v[i + count / 2]);
  }
  for (int i = 0; i < count; i++) v[i] = shuffled[i];
}

// Bytes to 32 bits: twice, zeros go between.
[[gnu::always_inline]] inline void store_widened(const Bytes& v, int32_t* to) {
  const Bytes zero = {}, low = low_halves(v, zero), high = high_halves(v, zero);
  store(to, low_halves(low, zero));
  store(to + 4, high_halves(low, zero));
  store(to + 8, low_halves(high, zero));
  store(to + 12, high_halves(high, zero));
}

[[gnu::always_inline]] inline Bytes load_part(const uint8_t* from, int64_t n) {
  if (n >= kStep) return load<Bytes>(from);
  uint8_t part[kStep] = {};
  __builtin_memcpy(part, from, static_cast<size_t>(n));
  return load<Bytes>(part);
}

void side_by_side(const uint8_t* const* rows, int64_t n, int32_t* columns) noexcept {
  for (int64_t i = 0; i < n; i += kStep) {
    Bytes v[kRows];
    for (int r = 0; r < kRows; r++) v[r] = load_part(rows[r] + i, n - i);
    for (int bit = 0; bit < 3; bit++) shuffle(v);
    for (int r = 0; r < kRows; r++) store_widened(v[r], columns + i * kRows + r * kStep);
  }
}

void add_across(const int32_t* pixels, const int32_t* weights, int64_t taps, int32_t* sums) noexcept {
  Sums red = load<Sums>(sums), green = load<Sums>(sums + kRows), blue = load<Sums>(sums + 2 * kRows);
  for (int64_t t = 0; t < taps; t++, pixels += 3 * kRows) {
    const Sums weight = splat(weights[t]);
    red += weight * load<Sums>(pixels);
    green += weight * load<Sums>(pixels + kRows);
    blue += weight * load<Sums>(pixels + 2 * kRows);
  }
  store(sums, red);
  store(sums + kRows, green);
  store(sums + 2 * kRows, blue);
}

[[gnu::always_inline]] inline Sums clamped(const Sums& sums) {
  const Sums whole = sums >> kWeightBits, positive = whole > splat(0) ? whole : splat(0);
  return positive < splat(255) ? positive : splat(255);
}

void finish_across(const int32_t* sums, int64_t n, int32_t* rows, int64_t pitch) noexcept {
  for (int64_t i = 0; i < n; i += kRows) {
    int32_t block[kRows * kRows];
    for (int c = 0; c < kRows; c++) store(block + c * kRows, clamped(load<Sums>(sums + (i + c) * kRows)));
    Quad v[2 * kRows];
    for (int q = 0; q < 2 * kRows; q++) v[q] = load<Quad>(block + 4 * q);
    for (int bit = 0; bit < 3; bit++) shuffle(v);
    for (int q = 0; q < 2 * kRows; q++) store(rows + q / 2 * pitch + i + q % 2 * 4, v[q]);
  }
}

void start_down(const int32_t* canvas, int32_t weight, int32_t* sums, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++) sums[i] = kHalf + weight * canvas[i];
}

void add_down(const int32_t* rows, int64_t pitch, const int32_t* weights, int64_t taps, int32_t* sums,
              int64_t n) noexcept {
  for (int64_t i = 0; i < n; i += kStep) {
    Sums left = load<Sums>(sums + i), right = load<Sums>(sums + i + kRows);
    for (int64_t t = 0; t < taps; t++) {
      const Sums weight = splat(weights[t]);
      left += weight * load<Sums>(rows + t * pitch + i);
      right += weight * load<Sums>(rows + t * pitch + i + kRows);
    }
    store(sums + i, left);
    store(sums + i + kRows, right);
  }
}

void finish_down(int32_t* sums, int64_t n, const float* values, float* const* planes) noexcept {
  for (int64_t i = 0; i < 3 * n; i += kRows) store(sums + i, clamped(load<Sums>(sums + i)));
  float *const red = planes[0], *const green = planes[1], *const blue = planes[2];
  for (int64_t x = 0; x < n; x++) {
    red[x] = values[sums[3 * x]];
    green[x] = values[256 + sums[3 * x + 1]];
    blue[x] = values[512 + sums[3 * x + 2]];
  }
}
