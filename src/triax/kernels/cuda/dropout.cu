// Dropout and what is added around it, forward; backward, the sums of columns that go through the same mask.
#include "triax/kernels/cuda/column_sums.h"

namespace triax::TRIAX_GPU {
namespace {

// A warp has 256 columns of a row, two blocks of a mask. Lane l draws the numbers of column l % 16 of its block; eight
// ballots bring each lane those of its own eight columns.
__device__ inline uint32_t mask_of_pack(const Mask& mask, int64_t row, int64_t first_col, int lane) {
  const int half = lane / 16, within = lane % 16;
  const PhiloxBlock numbers = dropout_numbers(mask, row + mask.row_offset, (first_col + mask.col_offset) / 128 + half,
                                              static_cast<uint32_t>(within));
  uint32_t kept = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const uint32_t all = __ballot_sync(~0u, keeps(mask, numbers, j));
    if (within / 2 == j) kept = all;
  }
  return (kept >> (16 * half + 8 * (within % 2))) & 0xFFu;
}

template <int kCount, typename T>
__device__ inline void dropout_add_at(const DropoutAdd& o, int64_t row, int64_t col, const T* table,
                                      const float (&factor)[kCount]) {
  float v[kCount], w[kCount];
  load<kCount>(row_of<const T>(o.x, row) + col, v);
  if (o.bias) {
    load<kCount>(o.bias + col, w);
    for (int i = 0; i < kCount; ++i) v[i] += w[i];
  }
  if (table) {
    load<kCount>(table + col, w);
    for (int i = 0; i < kCount; ++i) v[i] += w[i];
  }
  for (int i = 0; i < kCount; ++i) v[i] *= factor[i];
  if (o.residual.data) {
    load<kCount>(row_of<const T>(o.residual, row) + col, w);
    for (int i = 0; i < kCount; ++i) v[i] += w[i];
  }
  store<kCount>(v, row_of<T>(o.out, row) + col);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) dropout_add_kernel(DropoutAdd o, Area area, uint32_t chunks) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t warp = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp;
  const int64_t row = warp / chunks, first = warp % chunks * (kWarp * kPack);
  if (row >= area.rows) return;
  const T* table = nullptr;
  if (o.positions) {
    const int32_t at = o.positions[row];
    if (at >= 0 && at < o.positions_end) table = row_of<const T>(o.table, at);
  }
  const int64_t col = first + lane * kPack;
  const bool by_warp = o.mask.active && o.mask.col_offset % 128 == 0;
  const uint32_t kept = by_warp ? mask_of_pack(o.mask, row, first, lane) : 0;
  if (area.vector && col + kPack <= area.cols && (by_warp || !o.mask.active)) {
    float factor[kPack];
    for (int i = 0; i < kPack; ++i) factor[i] = !o.mask.active ? 1.0f : kept >> i & 1 ? o.mask.scale : 0.0f;
    return dropout_add_at<kPack>(o, row, col, table, factor);
  }
  for (int64_t c = col; c < col + kPack && c < area.cols; ++c) {
    float factor[1] = {1.0f};
    if (o.mask.active) factor[0] = dropout_factor(o.mask, row + o.mask.row_offset, c + o.mask.col_offset);
    dropout_add_at<1>(o, row, c, table, factor);
  }
}

// Of x times its dropout mask, which is also written to dx where that is wanted.
template <typename T>
struct ColumnSums {
  static constexpr int kSums = 1;
  Matrix x, dx;
  Mask mask;
  // By all lanes of a warp, for the 256 columns from first_col on: what of this lane's are kept.
  __device__ uint32_t prepare(int64_t row, int64_t first_col, int lane) const {
    return mask.active && mask.col_offset % 128 == 0 ? mask_of_pack(mask, row, first_col, lane) : 0;
  }
  template <int kCount>
  __device__ void add(int64_t row, int64_t col, uint32_t kept, float (&sums)[kSums][kPack], int at) const {
    float v[kCount];
    load<kCount>(row_of<const T>(x, row) + col, v);
    for (int i = 0; mask.active && i < kCount; ++i)
      v[i] *= mask.col_offset % 128 != 0 ? dropout_factor(mask, row + mask.row_offset, col + i + mask.col_offset)
              : kept >> (at + i) & 1     ? mask.scale
                                         : 0.0f;
    if (dx.data) store<kCount>(v, row_of<T>(dx, row) + col);
    for (int i = 0; i < kCount; ++i) sums[0][at + i] += v[i];
  }
};

}  // namespace

void dropout_add(void* stream, Type type, Area area, const DropoutAdd& operands) {
  const uint32_t chunks = ceil_div(area.cols, kWarp * kPack);
  with_type(type, [&](auto tag) {
    launch(dropout_add_kernel<typename decltype(tag)::type>, {ceil_div(area.rows * chunks, kRowsOfBlock)}, kThreads, 0,
           stream, operands, area, chunks);
  });
}

void add_column_sums(void* stream, Scratch scratch, Type type, Area area, Matrix x, const Mask& mask, Matrix dx,
                     float* sums) {
  with_type(type, [&](auto tag) {
    sum_columns(stream, scratch, area, ColumnSums<typename decltype(tag)::type>{x, dx, mask}, sums, nullptr);
  });
}

}  // namespace triax::TRIAX_GPU
