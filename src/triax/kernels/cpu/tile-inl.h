// Matrix products of small float tiles that lie in the first and second level cache: a block of rows
// by a few registers of columns is held in registers over the whole inner dimension. The callers
// choose what is computed per block of rows, so that a triangle costs half a square. Highway style:
// compiled once per instruction set.
#if defined(TRIAX_KERNELS_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIAX_KERNELS_CPU_TILE_INL_H_
#undef TRIAX_KERNELS_CPU_TILE_INL_H_
#else
#define TRIAX_KERNELS_CPU_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include "triax/kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows and registers of a tile: 24 accumulators of the 32 registers of AVX-512 and NEON, 12 of the 16
// of AVX2.
constexpr int64_t kTileRows = 6;
constexpr int64_t kTileVectors = HWY_TARGET == HWY_AVX2 ? 2 : 4;
constexpr int64_t kTileColumns = kTileVectors * kLanes;

// Element (i, k) of the left operand is data[i * stride + k] (rows) or data[k * stride + i] (columns).
enum class Order { rows, columns };
// A product is added to the tile in c with its row i times scales[i]; null: the tile is overwritten.
inline constexpr float kAdd[kTileRows] = {1, 1, 1, 1, 1, 1};
inline constexpr const float* kOverwrite = nullptr;

// Row k of the right operand starts at data + k * stride.
struct Matrix {
  const float* data;
  int64_t stride;
};

template <Order kOrder, int M, int N>
HWY_NOINLINE void tile(int64_t depth, Matrix a, Matrix b, float* HWY_RESTRICT c, int64_t ldc,
                       const float* HWY_RESTRICT scales) {
  const Floats d;
  FloatVector sum[M][N];
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) sum[i][j] = hn::Zero(d);
  const float *pa = a.data, *pb = b.data;
  const int64_t step = kOrder == Order::rows ? 1 : a.stride;
  const int64_t across = kOrder == Order::rows ? a.stride : 1;
  for (int64_t k = 0; k < depth; ++k) {
    FloatVector right[N];
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) right[j] = hn::Load(d, pb + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) {
      const FloatVector left = hn::Set(d, pa[i * across]);
#pragma GCC unroll 8
      for (int j = 0; j < N; ++j) sum[i][j] = hn::MulAdd(left, right[j], sum[i][j]);
    }
    pa += step;
    pb += b.stride;
  }
  if (scales == kOverwrite) {
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < N; ++j) hn::Store(sum[i][j], d, c + i * ldc + j * kLanes);
    return;
  }
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i) {
    const FloatVector factor = hn::Set(d, scales[i]);
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) {
      float* to = c + i * ldc + j * kLanes;
      hn::Store(hn::MulAdd(hn::Load(d, to), factor, sum[i][j]), d, to);
    }
  }
}

template <Order kOrder, int M>
HWY_INLINE void tile_rows(int64_t vectors, int64_t depth, Matrix a, Matrix b, float* c, int64_t ldc,
                          const float* scales) {
  switch (vectors) {
    case 1: return tile<kOrder, M, 1>(depth, a, b, c, ldc, scales);
    case 2: return tile<kOrder, M, 2>(depth, a, b, c, ldc, scales);
#if HWY_TARGET != HWY_AVX2
    case 3: return tile<kOrder, M, 3>(depth, a, b, c, ldc, scales);
    case 4: return tile<kOrder, M, 4>(depth, a, b, c, ldc, scales);
#endif
    default: return;
  }
}

// c[rows x vectors * kLanes] from `rows` <= kTileRows rows, `vectors` <= kTileVectors registers of
// columns and an inner dimension of `depth`. Right operand and c are aligned to registers.
template <Order kOrder>
HWY_INLINE void tile_product(int64_t rows, int64_t vectors, int64_t depth, Matrix a, Matrix b,
                             float* c, int64_t ldc, const float* scales) {
  if (rows == kTileRows)
    return tile_rows<kOrder, kTileRows>(vectors, depth, a, b, c, ldc, scales);
  const auto advance = [&](int64_t done) {
    a.data += kOrder == Order::rows ? done * a.stride : done;
    c += done * ldc;
    if (scales) scales += done;
  };
  if (rows & 4) {
    tile_rows<kOrder, 4>(vectors, depth, a, b, c, ldc, scales);
    advance(4);
  }
  if (rows & 2) {
    tile_rows<kOrder, 2>(vectors, depth, a, b, c, ldc, scales);
    advance(2);
  }
  if (rows & 1) tile_rows<kOrder, 1>(vectors, depth, a, b, c, ldc, scales);
}

// to[c * to_stride + r] = from[r * from_stride + c] for r < rows and c < columns, both rounded up to
// multiples of 4, which both buffers have room for.
HWY_INLINE void transpose(const float* HWY_RESTRICT from, int64_t from_stride, int64_t rows,
                          int64_t columns, float* HWY_RESTRICT to, int64_t to_stride) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
#else
  const hn::Full128<float> d;
  const hn::Full128<uint64_t> d64;
  for (int64_t r = 0; r < rows; r += 4)
    for (int64_t c = 0; c < columns; c += 4) {
      const float* in = from + r * from_stride + c;
      const auto r0 = hn::LoadU(d, in), r1 = hn::LoadU(d, in + from_stride);
      const auto r2 = hn::LoadU(d, in + 2 * from_stride), r3 = hn::LoadU(d, in + 3 * from_stride);
      const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
      const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
      const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
      const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
      float* out = to + c * to_stride + r;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, low01, low23)), d, out);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23)), d, out + to_stride);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, high01, high23)), d, out + 2 * to_stride);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23)), d, out + 3 * to_stride);
    }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#endif  // TRIAX_KERNELS_CPU_TILE_INL_H_
