#include "triax/kernels/cpu/row_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/row_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "triax/kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

// Four registers of columns at a time, down all rows: the sums never leave the registers.
template <typename T>
HWY_INLINE void column_sums(const T* x, int64_t stride, int64_t rows, int64_t cols, float* out) {
  const Floats d;
  int64_t j = 0;
  for (; j + 4 * kLanes <= cols; j += 4 * kLanes) {
    FloatVector s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t i = 0; i < rows; ++i) {
      const T* row = x + i * stride + j;
      s0 = hn::Add(s0, load_floats(row));
      s1 = hn::Add(s1, load_floats(row + kLanes));
      s2 = hn::Add(s2, load_floats(row + 2 * kLanes));
      s3 = hn::Add(s3, load_floats(row + 3 * kLanes));
    }
    store_floats(hn::Add(load_floats(out + j), s0), out + j);
    store_floats(hn::Add(load_floats(out + j + kLanes), s1), out + j + kLanes);
    store_floats(hn::Add(load_floats(out + j + 2 * kLanes), s2), out + j + 2 * kLanes);
    store_floats(hn::Add(load_floats(out + j + 3 * kLanes), s3), out + j + 3 * kLanes);
  }
  for_lanes(cols - j, [&](int64_t at, auto lanes) HWY_ATTR {
    FloatVector sum = hn::Zero(d);
    for (int64_t i = 0; i < rows; ++i) sum = hn::Add(sum, load(x + i * stride + j + at, lanes));
    store(hn::Add(load(out + j + at, lanes), sum), out + j + at, lanes);
  });
}

void column_sums_f32(const float* x, int64_t stride, int64_t rows, int64_t cols, float* out) {
  column_sums(x, stride, rows, cols, out);
}
void column_sums_bf16(const bf16* x, int64_t stride, int64_t rows, int64_t cols, float* out) {
  column_sums(x, stride, rows, cols, out);
}
void column_sums_f16(const f16* x, int64_t stride, int64_t rows, int64_t cols, float* out) {
  column_sums(x, stride, rows, cols, out);
}

template <typename From, typename To>
HWY_INLINE void convert(const From* from, int64_t count, To* to) {
  for_lanes(count,
            [&](int64_t j, auto lanes) HWY_ATTR { store(load(from + j, lanes), to + j, lanes); });
}
void widen_bf16(const bf16* from, int64_t count, float* to) { convert(from, count, to); }
void widen_f16(const f16* from, int64_t count, float* to) { convert(from, count, to); }
void narrow_bf16(const float* from, int64_t count, bf16* to) { convert(from, count, to); }
void narrow_f16(const float* from, int64_t count, f16* to) { convert(from, count, to); }

template <typename Out>
HWY_INLINE void add_bias_block(int64_t rows, int64_t cols, Block<const float> x, const float* bias,
                               Block<Out> y) {
  for (int64_t i = 0; i < rows; ++i)
    for_lanes(cols, [&](int64_t j, auto lanes) HWY_ATTR {
      store(hn::Add(load(x[i] + j, lanes), load(bias + j, lanes)), y[i] + j, lanes);
    });
}

void add_bias_f32(int64_t rows, int64_t cols, Block<const float> x, const float* bias,
                  Block<float> y) {
  add_bias_block(rows, cols, x, bias, y);
}
void add_bias_bf16(int64_t rows, int64_t cols, Block<const float> x, const float* bias,
                   Block<bf16> y) {
  add_bias_block(rows, cols, x, bias, y);
}
void add_bias_f16(int64_t rows, int64_t cols, Block<const float> x, const float* bias,
                   Block<f16> y) {
  add_bias_block(rows, cols, x, bias, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(column_sums_f32);
HWY_EXPORT(column_sums_bf16);
HWY_EXPORT(column_sums_f16);
HWY_EXPORT(widen_bf16);
HWY_EXPORT(widen_f16);
HWY_EXPORT(narrow_bf16);
HWY_EXPORT(narrow_f16);
HWY_EXPORT(add_bias_f32);
HWY_EXPORT(add_bias_bf16);
HWY_EXPORT(add_bias_f16);

void add_columns(const float* x, int64_t stride, int64_t rows, int64_t cols, float* out) {
  HWY_DYNAMIC_DISPATCH(column_sums_f32)(x, stride, rows, cols, out);
}
void add_columns(const bf16* x, int64_t stride, int64_t rows, int64_t cols, float* out) {
  HWY_DYNAMIC_DISPATCH(column_sums_bf16)(x, stride, rows, cols, out);
}
void add_columns(const f16* x, int64_t stride, int64_t rows, int64_t cols, float* out) {
  HWY_DYNAMIC_DISPATCH(column_sums_f16)(x, stride, rows, cols, out);
}
void convert_row(const bf16* from, int64_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(widen_bf16)(from, count, to);
}
void convert_row(const float* from, int64_t count, bf16* to) {
  HWY_DYNAMIC_DISPATCH(narrow_bf16)(from, count, to);
}
void convert_row(const f16* from, int64_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(widen_f16)(from, count, to);
}
void convert_row(const float* from, int64_t count, f16* to) {
  HWY_DYNAMIC_DISPATCH(narrow_f16)(from, count, to);
}
void add_bias(int64_t rows, int64_t cols, Block<const float> x, const float* bias, Block<float> y) {
  HWY_DYNAMIC_DISPATCH(add_bias_f32)(rows, cols, x, bias, y);
}
void add_bias(int64_t rows, int64_t cols, Block<const float> x, const float* bias, Block<bf16> y) {
  HWY_DYNAMIC_DISPATCH(add_bias_bf16)(rows, cols, x, bias, y);
}
void add_bias(int64_t rows, int64_t cols, Block<const float> x, const float* bias, Block<f16> y) {
  HWY_DYNAMIC_DISPATCH(add_bias_f16)(rows, cols, x, bias, y);
}

}  // namespace triax::cpu
#endif
