// The largest values of a row, and the logarithm of the sum of its exponentials.
//   A value and its column make one number of 64 bits that ascends as the order asked for does, and no two are equal.
//   The k-th largest is found digit by digit from the top (a radix select), until all numbers that begin as it does
//   are among the k. These are written down in any order; each then counts those above it, which is its place.
#include "cuda/smem.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

constexpr int kThreads = 512;
constexpr int kDigit = 8, kDigits = 1 << kDigit;  // bits of a digit, and how many there are
constexpr int64_t kPart = 4096;                   // columns of a block of the sum

__device__ __forceinline__ uint64_t rank_of(float value, int64_t column) {
  uint32_t bits = static_cast<uint32_t>(__float_as_int(value));
  bits = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  if (value == 0) bits = 0x80000000u;  // -0 too
  if (value != value) bits = ~0u;
  return static_cast<uint64_t>(bits) << 32 | ~static_cast<uint32_t>(column);
}

// NaN where one of both is.
__device__ __forceinline__ float larger(float a, float b) { return a != a || a > b ? a : b; }

// All threads get the largest of a block's values, NaN where there is one. `kept` is [kThreads / kWarp].
__device__ __forceinline__ float largest_of_block(float value, float* kept) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = larger(value, __shfl_xor_sync(~0u, value, distance));
  if (threadIdx.x % kWarp == 0) kept[threadIdx.x / kWarp] = value;
  __syncthreads();
  for (int w = 0; w < kThreads / kWarp; w++) value = larger(value, kept[w]);
  return value;
}
__device__ __forceinline__ double sum_of_block(double value, double* kept) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
  if (threadIdx.x % kWarp == 0) kept[threadIdx.x / kWarp] = value;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < kThreads / kWarp; w++) sum += kept[w];
  return sum;
}

// What a part of a row adds: its largest value, and the sum of exp(x - largest), 0 where that one is not finite.
struct Part {
  double largest, sum;
};

__global__ void __launch_bounds__(kThreads) sum_kernel(Rows<const float> x, int64_t columns, Part* parts) {
  SharedMemory memory;
  float* const kept = memory.take<float>(kThreads / kWarp);
  double* const sums = memory.take<double>(kThreads / kWarp);
  const float* const row = x.row(blockIdx.x);
  const int64_t first = int64_t{blockIdx.y} * kPart, end = first + kPart < columns ? first + kPart : columns;
  float largest = __int_as_float(static_cast<int>(0xff800000u));  // -infinity
  for (int64_t i = first + threadIdx.x; i < end; i += kThreads) largest = larger(largest, ld(row + i));
  largest = largest_of_block(largest, kept);
  double sum = 0;
  if (largest - largest == 0) {
    for (int64_t i = first + threadIdx.x; i < end; i += kThreads)
      sum += exp(static_cast<double>(ld(row + i)) - static_cast<double>(largest));
  }
  sum = sum_of_block(sum, sums);
  if (threadIdx.x == 0) st(parts + blockIdx.x * gridDim.y + blockIdx.y, Part{static_cast<double>(largest), sum});
}

__device__ double log_sum_exp_of(const Part* parts, int64_t count) {
  double largest = ld(parts).largest;
  for (int64_t p = 1; p < count; p++) {
    const double other = ld(parts + p).largest;
    if (largest == largest && !(other <= largest)) largest = other;
  }
  if (largest - largest != 0) return largest;
  double sum = 0;
  for (int64_t p = 0; p < count; p++) sum += ld(parts + p).sum * exp(ld(parts + p).largest - largest);
  return largest + log(sum);
}

// `found` is [rows, k].
__global__ void __launch_bounds__(kThreads)
    top_k_kernel(Rows<const float> x, int64_t columns, int64_t k, uint64_t* found, int32_t* ids, float* values,
                 const Part* parts, int64_t count_of_parts, double* log_sum_exp) {
  SharedMemory memory;
  uint32_t* const histogram = memory.take<uint32_t>(kDigits);
  uint32_t* const next = memory.take<uint32_t>(4);  // digit, how many of its numbers are wanted, whether not all; then
  uint32_t* const filled = next + 3;                // how many numbers are written down
  const float* const row = x.row(blockIdx.x);
  found += blockIdx.x * k;
  if (threadIdx.x == 0) *filled = 0;

  uint64_t beginning = 0;  // of the k-th largest, its digits down to bit `shift`
  uint32_t wanted = static_cast<uint32_t>(k);
  int shift = 64;
  for (bool more = true; more;) {
    shift -= kDigit;
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kThreads) histogram[i] = 0;
    __syncthreads();
    for (int64_t column = threadIdx.x; column < columns; column += kThreads) {
      const uint64_t rank = rank_of(ld(row + column), column) >> shift;
      if (rank >> kDigit == beginning) atomicAdd(histogram + rank % kDigits, 1u);
    }
    __syncthreads();
    if (threadIdx.x < kWarp) {
      constexpr int kOfLane = kDigits / kWarp;
      const int lane = static_cast<int>(threadIdx.x);
      int digit = kDigits - 1 - kOfLane * lane;
      uint32_t own = 0;
      for (int i = 0; i < kOfLane; i++) own += histogram[digit - i];
      uint32_t through = own;  // numbers of this lane's digits and of all above them
      for (int distance = 1; distance < kWarp; distance *= 2) {
        const uint32_t other = __shfl_sync(~0u, through, lane - distance);
        if (lane >= distance) through += other;
      }
      uint32_t above = through - own;
      if (above < wanted && wanted <= through) {
        while (above + histogram[digit] < wanted) above += histogram[digit--];
        next[0] = static_cast<uint32_t>(digit);
        next[1] = wanted - above;
        next[2] = histogram[digit] > wanted - above ? 1 : 0;
      }
    }
    __syncthreads();
    beginning = beginning << kDigit | next[0];
    wanted = next[1];
    more = next[2] != 0;
  }

  for (int64_t column = threadIdx.x; column < columns; column += kThreads) {
    const uint64_t rank = rank_of(ld(row + column), column);
    if (rank >> shift >= beginning) st(found + atomicAdd(filled, 1u), rank);
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < k; i += kThreads) {
    const uint64_t rank = ld(found + i);
    int64_t place = blockIdx.x * k;
    for (int64_t j = 0; j < k; j++) place += ld(found + j) > rank ? 1 : 0;
    const auto column = ~static_cast<uint32_t>(rank);
    st(ids + place, static_cast<int32_t>(column));
    st(values + place, ld(row + column));
  }
  if (log_sum_exp != nullptr && threadIdx.x == 0)
    st(log_sum_exp + blockIdx.x, log_sum_exp_of(parts + blockIdx.x * count_of_parts, count_of_parts));
}

}  // namespace

void top_k(Stream& s, const TopKArgs& a) {
  if (a.x.rows == 0) return;
  CudaStream& stream = cuda_stream(s);
  const int64_t parts = a.log_sum_exp ? divided_up(a.x.cols, kPart) : 0;
  auto* const of_row = stream.partials.reserve<Part>(a.x.rows * parts + divided_up(a.x.rows * a.k, 2));
  auto* const found = reinterpret_cast<uint64_t*>(of_row + a.x.rows * parts);
  if (parts > 0) {
    launch(sum_kernel, dim3(grid_size(a.x.rows), grid_size(parts)), kThreads,
           shared_bytes_of(kThreads / kWarp * sizeof(float)) + shared_bytes_of(kThreads / kWarp * sizeof(double)),
           stream.handle(), rows_of(a.x), a.x.cols, of_row);
  }
  launch(top_k_kernel, grid_size(a.x.rows), kThreads,
         shared_bytes_of(kDigits * sizeof(uint32_t)) + shared_bytes_of(4 * sizeof(uint32_t)), stream.handle(),
         rows_of(a.x), a.columns, a.k, found, pointer(a.ids), pointer(a.values), of_row, parts, pointer(a.log_sum_exp));
}

}  // namespace llava::cuda
