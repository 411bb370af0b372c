// What a step of the optimizer is made of: the gradients' norm, and AdamW.
#include "triax/kernels/cuda/device_code.h"

namespace triax::TRIAX_GPU {
namespace {

constexpr int64_t kSquaresOfBlock = int64_t{kThreads} * kPack * 8;

template <typename T>
__global__ void __launch_bounds__(kThreads) squares(Matrix x, Area area, uint32_t blocks_per_row, double* partial) {
  const int64_t row = blockIdx.x / blocks_per_row, begin = int64_t{blockIdx.x % blocks_per_row} * kSquaresOfBlock;
  const int64_t count = begin + kSquaresOfBlock < area.cols ? kSquaresOfBlock : area.cols - begin;
  const T* from = row_of<const T>(x, row) + begin;
  double sum = 0;
  for_columns<kThreads>(count, area.vector, static_cast<int>(threadIdx.x), [&](auto size, int64_t c) {
    float v[decltype(size)::value];
    load<decltype(size)::value>(from + c, v);
    for (const float value : v) sum += static_cast<double>(value) * static_cast<double>(value);
  });
  sum = reduce_block<Sum>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) add_up(const double* partial, int64_t count, double* result) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += partial[i];
  sum = reduce_block<Sum>(sum);
  if (threadIdx.x == 0) *result = sum;
}

// ---- AdamW: a block has 2048 elements of one of the ranges

constexpr int kUpdatesOfBlock = kThreads * kPack;

// Elements [at, at + kCount) of a range, which become bf16 by stochastic rounding.
template <int kCount>
__device__ inline void round_copy(const AdamW& f, const AdamWRange& r, int64_t at, const float (&p)[kCount]) {
  const AdamWPlace& place = r.place;
  const int64_t begin = place.first + at, column = begin % place.width;
  const int64_t index = begin / place.width * place.global_width + place.offset + column;
  auto* copy = static_cast<Bf16*>(r.copy) + at;
  if constexpr (kCount == kPack) {
    if (index % kPack == 0 && column + kPack <= place.width) {  // numbers of one block
      const PhiloxBlock numbers = rounding_numbers(f.seed, place.stream, f.step, static_cast<uint64_t>(index / kPack));
      Quad quad;
#pragma unroll
      for (int w = 0; w < 4; ++w)
        quad.word[w] = round_up_by(__float_as_uint(p[2 * w]), numbers[static_cast<size_t>(w)] & 0xFFFFu) |
                       round_up_by(__float_as_uint(p[2 * w + 1]), numbers[static_cast<size_t>(w)] >> 16) << 16;
      *reinterpret_cast<Quad*>(copy) = quad;
      return;
    }
    for (int i = 0; i < kCount; ++i) round_copy<1>(f, r, at + i, {p[i]});
  } else {
    const PhiloxBlock numbers = rounding_numbers(f.seed, place.stream, f.step, static_cast<uint64_t>(index / 8));
    const uint32_t bits = round_up_by(__float_as_uint(p[0]), rounding_number(numbers, static_cast<int>(index % 8)));
    copy->bits = static_cast<uint16_t>(bits);
  }
}

template <int kCount>
__device__ inline void make_copy(const AdamW& f, const AdamWRange& r, int64_t at, const float (&p)[kCount]) {
  if (!r.copy) return;
  if (r.place.width > 0) return round_copy<kCount>(f, r, at, p);
  if (r.copy_type == Type::f32) return store<kCount>(p, static_cast<float*>(r.copy) + at);
  if (r.copy_type == Type::bf16) return store<kCount>(p, static_cast<Bf16*>(r.copy) + at);
  store<kCount>(p, static_cast<F16*>(r.copy) + at);
}

// Elements [at, at + kCount) of a range; the CPU's arithmetic, operation for operation.
template <int kCount>
__device__ inline void update(const AdamW& f, const AdamWRange& r, int64_t at) {
  float p[kCount], g[kCount], mean[kCount], square[kCount];
  load<kCount>(r.param + at, p);
  if (!r.grad) return make_copy<kCount>(f, r, at, p);
  load<kCount>(r.grad + at, g);
  load<kCount>(r.m + at, mean);
  load<kCount>(r.v + at, square);
  for (int i = 0; i < kCount; ++i) {
    const float scaled = g[i] * f.gradient_scale;
    mean[i] = fmaf(f.beta1, mean[i], f.grad1 * scaled);
    square[i] = fmaf(f.beta2, square[i], f.grad2 * scaled * scaled);
    const float step = r.rate * mean[i] / fmaf(sqrtf(square[i]), f.root, f.epsilon);
    p[i] = fmaf(p[i], r.keep, -step);
  }
  store<kCount>(mean, r.m + at);
  store<kCount>(square, r.v + at);
  store<kCount>(p, r.param + at);
  make_copy<kCount>(f, r, at, p);
}

__global__ void __launch_bounds__(kThreads) update_ranges(AdamW f, const __grid_constant__ AdamWRanges all) {
  int which = 0;  // the last range that begins at this block or before
  for (int step = kMaxRanges / 2; step > 0; step /= 2)
    if (which + step < all.count && all.first_block[which + step] <= blockIdx.x) which += step;
  const AdamWRange& r = all.range[which];
  const int64_t at = int64_t{blockIdx.x - all.first_block[which]} * kUpdatesOfBlock + int64_t{threadIdx.x} * kPack;
  if (r.vector && at + kPack <= r.count) return update<kPack>(f, r, at);
  for (int64_t i = at; i < at + kPack && i < r.count; ++i) update<1>(f, r, i);
}

}  // namespace

size_t sum_of_squares_scratch(Area area) {
  return static_cast<size_t>(area.rows) * ceil_div(area.cols, kSquaresOfBlock) * sizeof(double);
}

void sum_of_squares(void* stream, Scratch scratch, Type type, Area area, Matrix x, double* result) {
  auto* partial = static_cast<double*>(scratch.data);
  const uint32_t blocks_per_row = ceil_div(area.cols, kSquaresOfBlock);
  const uint32_t blocks = static_cast<uint32_t>(area.rows) * blocks_per_row;
  with_type(type, [&](auto tag) {
    launch(squares<typename decltype(tag)::type>, {blocks}, kThreads, 0, stream, x, area, blocks_per_row, partial);
  });
  launch(add_up, {1}, kThreads, 0, stream, static_cast<const double*>(partial), static_cast<int64_t>(blocks), result);
}

void adamw_update(void* stream, const AdamW& factors, AdamWRanges& ranges) {
  uint32_t blocks = 0;
  for (int i = 0; i < ranges.count; ++i) {
    ranges.first_block[i] = blocks;
    blocks += ceil_div(ranges.range[i].count, kUpdatesOfBlock);
  }
  ranges.first_block[ranges.count] = blocks;
  launch(update_ranges, {blocks}, kThreads, 0, stream, factors, ranges);
}

}  // namespace triax::TRIAX_GPU
