// Softmax cross-entropy over (a part of) a vocabulary: a block a row; then tokens' losses from what ranks exchanged.
#include "triax/kernels/cuda/elements.h"

namespace triax::TRIAX_GPU {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads) statistics(Area area, Matrix logits, const int32_t* targets,
                                                       Vocabulary vocabulary, float* row_max, float* row_sum,
                                                       float* target_logit) {
  const int64_t row = blockIdx.x;
  const T* x = row_of<const T>(logits, row);
  float most = -INFINITY, sum = 0;
  for_columns<kThreads>(vocabulary.valid, area.vector, static_cast<int>(threadIdx.x), [&](auto size, int64_t c) {
    float v[decltype(size)::value];
    load<decltype(size)::value>(x + c, v);
    float now = most;
    for (const float value : v) now = fmaxf(now, value);
    const float origin = now == -INFINITY ? 0.0f : now;  // NaN goes into the sum all the same
    sum *= most == -INFINITY ? 1.0f : expf(most - origin);
    for (const float value : v) sum += expf(value - origin);
    most = now;
  });
  const float whole = reduce_block<Largest>(most);
  sum = reduce_block<Sum>(most == -INFINITY ? sum : sum * expf(most - whole));
  if (threadIdx.x != 0) return;
  row_max[row] = whole;
  row_sum[row] = sum;
  const int64_t column = targets[row] - vocabulary.start;
  target_logit[row] = targets[row] >= 0 && column >= 0 && column < vocabulary.valid ? to_float(x[column]) : 0.0f;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) softmax_gradient(Area area, Matrix logits, const int32_t* targets,
                                                             Vocabulary vocabulary, const float* lse, const float* weight) {
  const int64_t row = blockIdx.x;
  T* x = row_of<T>(logits, row);
  const float of_row = lse[row], share = weight[row];
  const int64_t target = targets[row] >= 0 ? targets[row] - vocabulary.start : -1;
  for_columns<kThreads>(area.cols, area.vector, static_cast<int>(threadIdx.x), [&](auto size, int64_t c) {
    constexpr int kCount = decltype(size)::value;
    float v[kCount];
    load<kCount>(x + c, v);
    // A token without weight has no gradient, whatever its logits are.
    for (int i = 0; i < kCount; ++i)
      v[i] = share == 0 || c + i >= vocabulary.valid ? 0.0f
                                                     : (expf(v[i] - of_row) - (c + i == target ? 1.0f : 0.0f)) * share;
    store<kCount>(v, x + c);
  });
}

struct RescaleSums {
  const float *from, *to;
  float* sum;
  template <int kCount>
  __device__ void at(int64_t, int64_t col) const {
    for (int64_t i = col; i < col + kCount; ++i) sum[i] *= expf(from[i] - to[i]);
  }
};

struct TokenLosses {
  float *row_max, *row_sum;
  const float *target, *weight;
  float scale;
  float* losses;
  template <int kCount>
  __device__ void at(int64_t, int64_t col) const {
    for (int64_t i = col; i < col + kCount; ++i) {
      row_max[i] += logf(row_sum[i]);
      losses[i] = row_max[i] - target[i];
      row_sum[i] = weight[i] * scale;
    }
  }
};

__global__ void __launch_bounds__(kThreads) weighted_values(int64_t n, const float* weights, const float* values,
                                                            double* result) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads)
    if (weights[i] != 0) sum += static_cast<double>(weights[i]) * static_cast<double>(values[i]);
  sum = reduce_block<Sum>(sum);
  if (threadIdx.x == 0) *result = sum;
}

}  // namespace

void softmax_statistics(void* stream, Type type, Area area, Matrix logits, const int32_t* targets, Vocabulary vocabulary,
                        float* row_max, float* row_sum, float* target_logit) {
  with_type(type, [&](auto tag) {
    launch(statistics<typename decltype(tag)::type>, {static_cast<uint32_t>(area.rows)}, kThreads, 0, stream, area, logits,
           targets, vocabulary, row_max, row_sum, target_logit);
  });
}

void cross_entropy_backward(void* stream, Type type, Area area, Matrix logits, const int32_t* targets,
                            Vocabulary vocabulary, const float* lse, const float* weight) {
  with_type(type, [&](auto tag) {
    launch(softmax_gradient<typename decltype(tag)::type>, {static_cast<uint32_t>(area.rows)}, kThreads, 0, stream, area,
           logits, targets, vocabulary, lse, weight);
  });
}

void rescale_sums(void* stream, int64_t n, const float* from, const float* to, float* row_sum) {
  for_elements(stream, {1, n, false}, RescaleSums{from, to, row_sum});
}

void token_losses(void* stream, int64_t n, float* row_max, float* row_sum, const float* target, const float* weight,
                  float loss_scale, float* losses) {
  for_elements(stream, {1, n, false}, TokenLosses{row_max, row_sum, target, weight, loss_scale, losses});
}

void weighted_sum(void* stream, Scratch scratch, int64_t n, const float* weights, const float* values) {
  launch(weighted_values, {1}, kThreads, 0, stream, n, weights, values, static_cast<double*>(scratch.data));
}

}  // namespace triax::TRIAX_GPU
