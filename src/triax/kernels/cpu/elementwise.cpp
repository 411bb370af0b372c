#include <type_traits>
#include <vector>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/partial_sums.h"
#include "triax/kernels/cpu/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "triax/kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

// y = alpha x + beta y for beta 0 or 1.
template <typename T>
HWY_INLINE void combine(float alpha, const T* x, bool add, T* y, int64_t count) {
  const auto factor = hn::Set(Floats(), alpha);
  for_lanes(count, [&](int64_t j, auto lanes) HWY_ATTR {
    const auto value = load(x + j, lanes);
    store(add ? hn::MulAdd(factor, value, load(y + j, lanes)) : hn::Mul(factor, value), y + j,
          lanes);
  });
}

void combine_f32(float alpha, const float* x, bool add, float* y, int64_t count) {
  combine(alpha, x, add, y, count);
}
void combine_bf16(float alpha, const bf16* x, bool add, bf16* y, int64_t count) {
  combine(alpha, x, add, y, count);
}
void combine_f16(float alpha, const f16* x, bool add, f16* y, int64_t count) {
  combine(alpha, x, add, y, count);
}

double squares(const float* x, int64_t count) {
  using Doubles = hn::CappedTag<double, 8>;
  const Doubles d;
  const hn::Rebind<float, Doubles> df;
  constexpr auto kDoubles = static_cast<int64_t>(hn::MaxLanes(d));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t j = 0;
  for (; j + 4 * kDoubles <= count; j += 4 * kDoubles) {
    const auto x0 = hn::PromoteTo(d, hn::LoadU(df, x + j));
    const auto x1 = hn::PromoteTo(d, hn::LoadU(df, x + j + kDoubles));
    const auto x2 = hn::PromoteTo(d, hn::LoadU(df, x + j + 2 * kDoubles));
    const auto x3 = hn::PromoteTo(d, hn::LoadU(df, x + j + 3 * kDoubles));
    s0 = hn::MulAdd(x0, x0, s0), s1 = hn::MulAdd(x1, x1, s1);
    s2 = hn::MulAdd(x2, x2, s2), s3 = hn::MulAdd(x3, x3, s3);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; j < count; ++j) sum += double{x[j]} * double{x[j]};
  return sum;
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(combine_f32);
HWY_EXPORT(combine_bf16);
HWY_EXPORT(combine_f16);
HWY_EXPORT(squares);

namespace {

void combine_row(float alpha, const float* x, bool add, float* y, int64_t count) {
  HWY_DYNAMIC_DISPATCH(combine_f32)(alpha, x, add, y, count);
}
void combine_row(float alpha, const bf16* x, bool add, bf16* y, int64_t count) {
  HWY_DYNAMIC_DISPATCH(combine_bf16)(alpha, x, add, y, count);
}
void combine_row(float alpha, const f16* x, bool add, f16* y, int64_t count) {
  HWY_DYNAMIC_DISPATCH(combine_f16)(alpha, x, add, y, count);
}

// Rows are converted in stretches that stay in the first-level cache.
constexpr int64_t kStretch = 512;

template <typename From, typename To>
void convert_any_row(const From* from, int64_t count, To* to) {
  if constexpr (std::is_same_v<From, To>) {
    std::copy(from, from + count, to);
  } else if constexpr (std::is_same_v<From, float> || std::is_same_v<To, float>) {
    convert_row(from, count, to);
  } else {
    float stretch[kStretch];
    for (int64_t j = 0; j < count; j += kStretch) {
      const int64_t part = std::min(kStretch, count - j);
      convert_row(from + j, part, stretch);
      convert_row(stretch, part, to + j);
    }
  }
}

double squares_of_row(const float* x, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(squares)(x, count);
}
template <typename T>
double squares_of_row(const T* x, int64_t count) {
  float stretch[kStretch];
  double sum = 0;
  for (int64_t j = 0; j < count; j += kStretch) {
    const int64_t part = std::min(kStretch, count - j);
    convert_row(x + j, part, stretch);
    sum += squares_of_row(stretch, part);
  }
  return sum;
}

}  // namespace

void convert(const Tensor& src, const Tensor& dst) {
  with_compute_type(src.dtype(), [&]<typename From>(From) {
    with_compute_type(dst.dtype(), [&]<typename To>(To) {
      for_blocks({&src, &dst}, [&](const Extent& e) {
        const auto from = block_of<const From>(src, e);
        const auto to = block_of<To>(dst, e);
        for (int64_t i = 0; i < e.rows; ++i) convert_any_row(from[i], e.cols, to[i]);
      });
    });
  });
}

void fill(const Tensor& x, float value) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    for_blocks({&x}, [&](const Extent& e) {
      const auto out = block_of<T>(x, e);
      for (int64_t i = 0; i < e.rows; ++i) std::fill(out[i], out[i] + e.cols, T(value));
    });
  });
}

void add_scaled(float alpha, const Tensor& x, const Tensor& y) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    for_blocks({&x, &y}, [&](const Extent& e) {
      const auto in = block_of<const T>(x, e);
      const auto out = block_of<T>(y, e);
      for (int64_t i = 0; i < e.rows; ++i) combine_row(alpha, in[i], true, out[i], e.cols);
    });
  });
}

void scale(float alpha, const Tensor& x) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    for_blocks({&x}, [&](const Extent& e) {
      const auto out = block_of<T>(x, e);
      for (int64_t i = 0; i < e.rows; ++i) combine_row(alpha, out[i], false, out[i], e.cols);
    });
  });
}

double sum_of_squares(const Tensor& x) {
  // Pieces are parts of rows; a contiguous tensor is one row.
  const int64_t rows = x.is_contiguous() ? 1 : x.dim(0);
  const int64_t cols = x.is_contiguous() ? x.numel() : x.dim(1);
  const int64_t per_row = (cols + kPieceElements - 1) / kPieceElements;
  static thread_local std::vector<double> kept;
  kept.assign(static_cast<size_t>(rows * per_row), 0);
  std::vector<double>& partial = kept;  // the caller's, also in the other threads
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    parallel_pieces(rows * per_row, [&](int64_t piece) {
      const int64_t row = piece / per_row, col = piece % per_row * kPieceElements;
      const T* begin = block_of<const T>(x)[row] + col;
      partial[static_cast<size_t>(piece)] =
          squares_of_row(begin, std::min(kPieceElements, cols - col));
    });
  });
  double total = 0;
  for (const double sum : partial) total += sum;
  return total;
}

void add_column_sums(const Tensor& x, const Tensor& sums) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = block_of<const T>(x);
    sum_over_rows(x.dim(0), x.dim(1), {sums.data<float>()},
                  [&](int64_t begin, int64_t end, float* part) {
                    add_columns(in[begin], in.stride, end - begin, x.dim(1), part);
                  });
  });
}

}  // namespace triax::cpu
#endif
