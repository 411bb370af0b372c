// What a step of the optimizer is made of: the gradients' norm, and AdamW.
#include "triax/kernels/cuda/elements.h"

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

// The CPU's arithmetic, operation for operation.
template <typename Copy>
struct AdamWUpdate {
  AdamW f;
  float* param;
  const float* grad;
  float *m, *v;
  Copy* copy;
  template <int kCount>
  __device__ void at(int64_t, int64_t col) const {
    float p[kCount], g[kCount], mean[kCount], square[kCount];
    load<kCount>(param + col, p);
    load<kCount>(grad + col, g);
    load<kCount>(m + col, mean);
    load<kCount>(v + col, square);
    for (int i = 0; i < kCount; ++i) {
      const float scaled = g[i] * f.gradient_scale;
      mean[i] = fmaf(f.beta1, mean[i], f.grad1 * scaled);
      square[i] = fmaf(f.beta2, square[i], f.grad2 * scaled * scaled);
      const float step = f.rate * mean[i] / fmaf(sqrtf(square[i]), f.root, f.epsilon);
      p[i] = fmaf(p[i], f.keep, -step);
    }
    store<kCount>(mean, m + col);
    store<kCount>(square, v + col);
    store<kCount>(p, param + col);
    if (copy) store<kCount>(p, copy + col);
  }
};

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

void adamw_update(void* stream, Area area, const AdamW& factors, float* param, const float* grad, float* m, float* v,
                  Type copy_type, void* copy) {
  if (copy && copy_type == Type::bf16)
    return for_elements(stream, area, AdamWUpdate<Bf16>{factors, param, grad, m, v, static_cast<Bf16*>(copy)});
  for_elements(stream, area, AdamWUpdate<F16>{factors, param, grad, m, v, static_cast<F16*>(copy)});
}

}  // namespace triax::TRIAX_GPU
